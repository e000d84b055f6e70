// Package rights derives the permissions that a user needs from the Roles in deploy, and checks them by access reviews.
package rights

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Permission is what a Role grants on one resource.
type Permission struct {
	Group string
	// Resource may have a subresource: pods/log.
	Resource string
	Verbs    []string
}

// Permissions reads the rules of a manifest's first document, a Role.
func Permissions(manifest string) ([]Permission, error) {
	document, _, _ := strings.Cut(manifest, "\n---\n")
	var role rbacv1.Role
	if err := yaml.UnmarshalStrict([]byte(document), &role); err != nil {
		return nil, fmt.Errorf("read the Role: %w", err)
	}
	var all []Permission
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			all = append(all, Permission{Group: rule.APIGroups[0], Resource: resource, Verbs: rule.Verbs})
		}
	}
	return all, nil
}

// Name returns the resource as kubectl writes it: jobs.batch, pods/log.
func (p *Permission) Name() string {
	if p.Group == "" {
		return p.Resource
	}
	return p.Resource + "." + p.Group
}

// optional describes what a session lacks without a permission. All others are required. "verb resource" takes
// precedence over "resource".
var optional = map[string]string{
	"patch jobs": "a session ends after an hour, and a tracer's pod with a sidecar in it outlives a killed session " +
		"by as much",
	"get jobs":               "targets like job/NAME are not found, nor pods that ended sessions left",
	"list jobs":              "Jobs that a killed session left are not swept before they expire",
	"watch jobs":             "the reason why a tracer's Job failed is not shown",
	"events":                 "the reason why a tracer's pod is refused (Pod Security, quota) is not shown",
	"services":               "Services are shown by their addresses",
	"endpointslices":         "the pods behind Services are not named",
	"deployments":            "targets like deploy/NAME are not found",
	"statefulsets":           "targets like sts/NAME are not found",
	"daemonsets":             "targets like ds/NAME are not found",
	"cronjobs":               "targets like cronjob/NAME are not found",
	"replicationcontrollers": "targets like rc/NAME are not found",
	"replicasets":            "targets like rs/NAME are not found",
	"get pods":               "",
}

// Optional reports whether a session runs without a verb, and describes what it lacks then; empty: nothing to report.
func (p *Permission) Optional(verb string) (lacks string, ok bool) {
	if lacks, ok = optional[verb+" "+p.Resource]; !ok {
		lacks, ok = optional[p.Resource]
	}
	return lacks, ok
}

// Allowed reviews whether the user may use a verb on the resource in a namespace.
func (p *Permission) Allowed(
	ctx context.Context, client kube.Interface, namespace, verb string,
) (bool, error) {
	resource, sub, _ := strings.Cut(p.Resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: p.Group, Resource: resource, Subresource: sub,
		},
	}}
	answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	return err == nil && answer.Status.Allowed, err
}

// check returns a *cluster.ForbiddenError where the user lacks a permission.
func (p *Permission) check(ctx context.Context, client kube.Interface, namespace, verb string) error {
	allowed, err := p.Allowed(ctx, client, namespace, verb)
	switch {
	case err != nil: // Some platforms forbid access reviews. The request itself will fail then.
		return ctx.Err()
	case allowed:
		return nil
	}
	return &cluster.ForbiddenError{Verb: verb, Resource: p.Resource, Namespace: namespace}
}

// Required returns the permissions that every session needs in the namespace of its tracers.
func Required() (required []Permission, err error) {
	all, err := Permissions(deploy.RBACTracers)
	for _, p := range all {
		p.Verbs = slices.DeleteFunc(slices.Clone(p.Verbs), func(verb string) bool {
			_, ok := p.Optional(verb)
			return ok
		})
		if len(p.Verbs) > 0 {
			required = append(required, p)
		}
	}
	return required, err
}

// Check reviews the Required permissions in parallel. It returns a *cluster.ForbiddenError for the first missing one.
func Check(ctx context.Context, client kube.Interface, namespace string) error {
	required, err := Required()
	if err != nil {
		return err
	}
	var asking sync.WaitGroup
	refusals := make([][]error, len(required))
	for i := range required {
		p := &required[i]
		refusals[i] = make([]error, len(p.Verbs))
		for j, verb := range p.Verbs {
			asking.Go(func() { refusals[i][j] = p.check(ctx, client, namespace, verb) })
		}
	}
	asking.Wait()
	return cmp.Or(slices.Concat(refusals...)...)
}

// MayExtend reports whether the user may extend the deadlines of Jobs. It is true where the cluster does not answer.
func MayExtend(ctx context.Context, client kube.Interface, namespace string) bool {
	p := Permission{Group: "batch", Resource: "jobs"}
	return p.check(ctx, client, namespace, "patch") == nil
}

// shellSafe matches names that need no quotes in a shell.
var shellSafe = regexp.MustCompile(`^[A-Za-z0-9:@._-]+$`)

// ShellSafe reports whether a name needs no quotes in a shell.
func ShellSafe(name string) bool { return shellSafe.MatchString(name) }

// User returns the user's name. It is empty where the cluster does not report it (before 1.28), or where the name needs
// quotes in a shell.
func User(ctx context.Context, client kube.Interface) string {
	review := &authenticationv1.SelfSubjectReview{}
	me, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil || !ShellSafe(me.Status.UserInfo.Username) {
		return ""
	}
	return me.Status.UserInfo.Username
}
