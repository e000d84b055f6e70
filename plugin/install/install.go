// Package install applies, upgrades, describes and removes the objects of persistent mode. It takes a plain
// configuration and knows no flags.
package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Installer works on one cluster.
type Installer struct {
	// Config is the API server's, for port-forwards.
	Config  *rest.Config
	Client  kube.Interface
	Dynamic dynamic.Interface
	// Discover lists the API resources that objects can be listed of and deleted from.
	Discover func(ctx context.Context) (*Resources, error)
	// List lists the metadata of objects in all namespaces, or in one.
	List Lister
	// Resultf reports what became of an object, Logf reports progress. Both write one line.
	Resultf, Logf func(format string, args ...any)
	// Interval is the time between two reads of what is waited for.
	Interval time.Duration
	// StuckTime is how long all pods that are not ready must be stuck before Install gives up: an image may be pulled
	// at the second attempt.
	StuckTime time.Duration
}

// Options of Install.
type Options struct {
	// Defaults are the values without any flag.
	Defaults *deploy.Values
	// Override changes the values of the installation, or Defaults where there is none.
	Override func(*deploy.Values) error
	// Upgrade changes an installation of another version; Force also one of a newer or unknown version.
	Upgrade, Force bool
	// ForceConflicts takes over fields that others have changed.
	ForceConflicts bool
	// DryRun sends all requests without any effect.
	DryRun bool
	// Timeout bounds the time until all agents and servers are ready.
	Timeout time.Duration
}

// Install applies the objects, removes those of another version that are no more, and waits until all agents and
// servers are ready. It returns the objects as they are in the cluster.
func (i *Installer) Install(ctx context.Context, o *Options) ([]*unstructured.Unstructured, error) {
	found, err := i.Find(ctx)
	if err != nil {
		return nil, err
	}
	values, err := o.resolve(found)
	if err != nil {
		return nil, err
	}
	namespace, err := i.examineNamespace(ctx, values.Namespace)
	if err != nil {
		return nil, err
	}
	if err := i.checkRights(ctx, values, found != nil); err != nil {
		return nil, err
	}
	effective := *values
	if effective.OldestKernel == "" {
		effective.OldestKernel = i.oldestKernel(ctx, values)
	}
	set, err := newApplySet(values, &effective, o.Defaults.Image)
	if err != nil {
		return nil, err
	}
	if namespace == foreignNamespace {
		set.dropNamespace()
	}
	a := &applier{Installer: i, force: o.ForceConflicts, dryRun: o.DryRun, newNamespace: namespace == noNamespace}
	if o.DryRun {
		return a.applyAll(ctx, set.objects)
	}
	if err := a.rehearse(ctx, set.objects); err != nil {
		return nil, err
	}
	return i.applySet(ctx, a, set, o.Timeout)
}

func (i *Installer) applySet(
	ctx context.Context, a *applier, set *applySet, timeout time.Duration,
) ([]*unstructured.Unstructured, error) {
	previous, err := i.groupKinds(ctx, set.namespace)
	if err != nil {
		return nil, err
	}
	// Until the pruning is done, the parent lists the kinds of both versions, so that it can be repeated.
	set.contain(previous)
	applied, err := a.applyAll(ctx, set.objects)
	if err != nil {
		return nil, err
	}
	if len(previous) > 0 {
		if err := i.prune(ctx, set, previous); err != nil {
			return nil, err
		}
	}
	if set.contain(nil) {
		if _, _, err := a.apply(ctx, set.parent); err != nil {
			return nil, err
		}
	}
	return applied, i.await(ctx, set.namespace, timeout)
}

// resolve returns the values to install: those of the installation where there is one, changed by the flags.
func (o *Options) resolve(found *Installation) (*deploy.Values, error) {
	if err := o.checkVersion(found); err != nil {
		return nil, err
	}
	values := *o.Defaults
	values.Kinds = slices.Clone(values.Kinds)
	if found != nil {
		if err := found.restore(&values); err != nil {
			return nil, err
		}
	}
	stored := values.Image
	values.Image = ""
	if err := o.Override(&values); err != nil {
		return nil, err
	}
	switch {
	case values.Image != "":
	case found == nil || stored == o.Defaults.Image:
		values.Image = o.Defaults.Image
	case found.Version != o.Defaults.Version:
		return nil, fmt.Errorf("orb8 %s was installed with the image %s: name the one of %s with --image or "+
			"--image-registry", found.Version, stored, o.Defaults.Version)
	default:
		values.Image = stored
	}
	return &values, values.Validate()
}

// Installation is what is known of an installation from its objects.
type Installation struct {
	Namespace string
	// Version of the program that installed it; empty where it is unknown.
	Version string
	// values is the text of its values; empty where they are unknown.
	values string
}

// Find returns the installation of the cluster; nil where there is none.
func (i *Installer) Find(ctx context.Context) (*Installation, error) {
	binding, err := i.Client.RbacV1().ClusterRoleBindings().Get(ctx, deploy.Agent, metav1.GetOptions{})
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	if binding.Labels[deploy.LabelManagedBy] != deploy.ManagedBy || len(binding.Subjects) != 1 {
		return nil, fmt.Errorf("clusterrolebinding %s exists and is not orb8's", deploy.Agent)
	}
	found := &Installation{
		Namespace: binding.Subjects[0].Namespace, Version: binding.Annotations[deploy.AnnotationVersion],
	}
	parent, err := i.Client.CoreV1().ConfigMaps(found.Namespace).Get(ctx, parentName, metav1.GetOptions{})
	if err != nil {
		return found, ignoreNotFound(err)
	}
	if v := parent.Annotations[deploy.AnnotationVersion]; v != "" {
		found.Version = v
	}
	found.values = parent.Data[valuesKey]
	return found, nil
}

// namespaceState is what install finds in place of its namespace.
type namespaceState int

const (
	noNamespace namespaceState = iota
	ownNamespace
	// foreignNamespace is one that the user made: it is neither labelled nor deleted.
	foreignNamespace
)

// examineNamespace returns an error for a namespace that orb8 cannot be installed into.
func (i *Installer) examineNamespace(ctx context.Context, name string) (namespaceState, error) {
	ns, err := i.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return noNamespace, ignoreNotFound(err)
	}
	if ns.DeletionTimestamp != nil {
		return 0, fmt.Errorf("namespace %s is being deleted: wait until it is gone, or use another one with -n", name)
	}
	if ns.Labels[deploy.LabelManagedBy] == deploy.ManagedBy {
		return ownNamespace, nil
	}
	enforced := ns.Labels[deploy.PodSecurityPrefix+"enforce"]
	if enforced != "" && enforced != deploy.PodSecurityPrivileged {
		return 0, fmt.Errorf("namespace %s forbids agents (Pod Security level %s): allow them with: kubectl label "+
			"namespace %s %senforce=%s --overwrite, or use another namespace with -n", name, enforced, name,
			deploy.PodSecurityPrefix, deploy.PodSecurityPrivileged)
	}
	i.Logf("namespace %s exists already: uninstall will not delete it", name)
	return foreignNamespace, nil
}

// ErrNotInstalled ends a command that needs an installation.
var ErrNotInstalled = errors.New("orb8 is not installed in this cluster: run kubectl orb8 install")

// resourceName names an object as kubectl does: daemonset.apps/orb8-agent.
func resourceName(kind, group, name string) string {
	kind = strings.ToLower(kind)
	if group != "" {
		kind += "." + group
	}
	return kind + "/" + name
}

func nameOf(u *unstructured.Unstructured) string {
	gvk := u.GroupVersionKind()
	return resourceName(gvk.Kind, gvk.Group, u.GetName())
}
