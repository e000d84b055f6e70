package doctor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/rights"
)

// Config selects the cluster, namespaces and nodes to examine.
type Config struct {
	// Host is the API server's address.
	Host string
	// Namespace is that of the targets; tracers run in that of Spec.
	Namespace string
	// Spec is the Job of each tracer, but for its session and its node.
	Spec launch.Spec
	// Node is the only node to examine; empty: all, up to MaxNodes.
	Node     string
	MaxNodes int
	// Commands maps a kind of event to the command that shows it.
	Commands map[string]string
	// Grant is the command that grants the missing rights to USER.
	Grant string
}

// Launcher starts and ends tracers; *launch.Launcher is one.
type Launcher interface {
	Create(ctx context.Context, spec *launch.Spec) error
	Running(ctx context.Context, spec *launch.Spec, progress func(string)) (pod string, err error)
	launch.Extender
	Delete(ctx context.Context, job string) error
	Close()
}

// Dependencies are the clients of an examination. Tests replace them.
type Dependencies struct {
	Client kube.Interface
	// Launch returns the launcher of the session with an ID.
	Launch func(ctx context.Context, id string) Launcher
	// Log follows the log of a tracer's pod.
	Log func(ctx context.Context, pod string) (io.ReadCloser, error)
}

// examination is one run of doctor.
type examination struct {
	Config
	Dependencies
	findings []Finding
	// blocked is the check that rules out any tracer; empty: none does.
	blocked string
}

// Examine checks the user's rights and the admission of a tracer, and runs a tracer on each node. It returns an error
// where the examination itself fails, not for failed checks.
func Examine(ctx context.Context, config Config, deps Dependencies) ([]Finding, error) {
	x := &examination{Config: config, Dependencies: deps}
	v, err := x.Client.ServerVersion(ctx)
	if err != nil {
		return nil, err
	}
	if untested := kube.Untested(v); untested != "" {
		x.add("api server", Warning, untested+"; at "+x.Host, "")
	} else {
		x.add("api server", OK, v.GitVersion+" at "+x.Host, "")
	}
	if err := x.checkPermissions(ctx); err != nil {
		return nil, err
	}
	x.Spec.Deadline = min(launch.JobDeadline(rights.MayExtend(ctx, x.Client, x.Spec.Namespace)), examineLimit)
	if err := x.Spec.ResolveRuntimeClass(ctx, x.Client); err != nil {
		return nil, err
	}
	if err := x.dryRun(ctx); err != nil {
		return nil, err
	}
	nodes, err := x.listNodes(ctx)
	if err != nil {
		return nil, err
	}
	return x.findings, x.tryNodes(ctx, nodes)
}

func (x *examination) add(check string, status Status, detail, fix string) {
	x.findings = append(x.findings, Finding{Check: check, Status: status, Detail: detail, Fix: fix})
	if status == Failure && x.blocked == "" {
		x.blocked = check
	}
}

// checkPermissions compares the user's rights with the documented Roles.
func (x *examination) checkPermissions(ctx context.Context) error {
	type role struct{ manifest, namespace string }
	roles := []role{{deploy.RBAC, x.Spec.Namespace}}
	if x.Spec.Namespace != x.Namespace {
		roles = []role{{deploy.RBACTargets, x.Namespace}, {deploy.RBACTracers, x.Spec.Namespace}}
	}
	grant := x.Grant
	if user := rights.User(ctx, x.Client); user != "" {
		grant = strings.Replace(grant, "--user=USER", "--user="+user, 1)
	}
	for _, role := range roles {
		permissions, err := rights.Permissions(role.manifest)
		if err != nil {
			return err
		}
		for i := range permissions {
			if err := x.checkPermission(ctx, &permissions[i], role.namespace, grant); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPermission reviews all verbs of one permission in parallel.
func (x *examination) checkPermission(ctx context.Context, p *rights.Permission, namespace, grant string) error {
	allowed := make([]bool, len(p.Verbs))
	errs := make([]error, len(p.Verbs))
	var reviews sync.WaitGroup
	for i, verb := range p.Verbs {
		reviews.Go(func() { allowed[i], errs[i] = p.Allowed(ctx, x.Client, namespace, verb) })
	}
	reviews.Wait()
	if err := cmp.Or(errs...); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.add(
			"permission: "+p.Name(),
			Unknown,
			"the cluster does not answer access reviews: "+string(safe.AppendText(nil, err.Error())),
			"",
		)
		return nil
	}
	var refused []string
	for i, verb := range p.Verbs {
		if !allowed[i] {
			refused = append(refused, verb)
		}
	}
	f := permission(p, namespace, refused, grant)
	x.add(f.Check, f.Status, f.Detail, f.Fix)
	return nil
}

// dryRun has the API server admit the tracer's Job and its pod without creating them.
func (x *examination) dryRun(ctx context.Context) error {
	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	spec := x.Spec
	spec.Session, spec.ClientKey, spec.Deadline = launch.NewSessionID(), identity.PublicKey(), examineLimit
	spec.Node = cmp.Or(x.Node, "any")
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	job := spec.Job()
	_, err = x.Client.BatchV1().Jobs(spec.Namespace).Create(ctx, job, options)
	x.addAdmission("job", "the API server admits the tracer's Job", err, &spec)

	pod := &corev1.Pod{ObjectMeta: job.Spec.Template.ObjectMeta, Spec: job.Spec.Template.Spec}
	pod.GenerateName = job.Name + "-"
	_, err = x.Client.CoreV1().Pods(spec.Namespace).Create(ctx, pod, options)
	x.addAdmission("pod", "the API server admits its pod: Pod Security, quota and webhooks", err, &spec)
	return ctx.Err()
}

func (x *examination) addAdmission(object, admitted string, err error, spec *launch.Spec) {
	check := "admission: " + object
	switch {
	case err == nil:
		x.add(check, OK, admitted, "")
	case apierrors.IsNotFound(err):
		x.add(check, Failure, fmt.Sprintf("namespace %q not found", spec.Namespace),
			"kubectl create namespace "+spec.Namespace+", or name another with -n or --tracer-namespace")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource"):
		detail := "not tried: you may not create it yourself"
		if object == "pod" {
			// The Job controller may create pods; whether admission accepts them depends on the namespace.
			detail = "you may not create pods yourself, so that admission could not be tried before a session does"
		}
		x.add(check, Unknown, detail, "")
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		refusal := launch.Refusal(spec, err.Error())
		x.add(check, Failure, refusal.Reason+": "+refusal.Message, refusal.Fix)
	default:
		x.add(check, Failure, err.Error(), "")
	}
}

// listNodes returns the nodes to examine. For a user who may not list nodes, these are the nodes of the namespace's
// pods.
func (x *examination) listNodes(ctx context.Context) ([]corev1.Node, error) {
	if x.Node != "" {
		n, err := x.Client.CoreV1().Nodes().Get(ctx, x.Node, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("node %q not found: see kubectl get nodes", x.Node)
		case apierrors.IsForbidden(err):
			return []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: x.Node}}}, nil
		case err != nil:
			return nil, err
		}
		return []corev1.Node{*n}, nil
	}
	list, err := x.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err == nil {
		return list.Items, nil
	}
	if !apierrors.IsForbidden(err) {
		return nil, err
	}
	pods, err := x.Client.CoreV1().Pods(x.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		x.add("nodes", Unknown, "you may list neither nodes nor pods, so that it is not known where to try a tracer",
			"name a node with --node")
		return nil, nil
	}
	var nodes []corev1.Node
	for _, p := range pods.Items {
		same := func(n corev1.Node) bool { return n.Name == p.Spec.NodeName }
		if p.Spec.NodeName != "" && !slices.ContainsFunc(nodes, same) {
			nodes = append(nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.Spec.NodeName}})
		}
	}
	x.add("nodes", OK,
		fmt.Sprintf("you may not list nodes: tried are those of the pods in namespace %s", x.Namespace), "")
	return nodes, nil
}

const (
	// examineLimit bounds the examination of one node, including the image pull.
	examineLimit = 2 * time.Minute
	// parallelTries bounds the nodes that are examined in parallel.
	parallelTries = 8
	// deleteTimeout bounds the deletion of a Job.
	deleteTimeout = 5 * time.Second
)
