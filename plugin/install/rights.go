package install

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
)

// right is a verb on a resource, in a namespace or in the whole cluster.
type right struct{ verb, group, resource, namespace string }

func (r *right) String() string {
	name := r.verb + " " + r.resource
	if r.group != "" {
		name += "." + r.group
	}
	if r.namespace != "" {
		name += " in namespace " + r.namespace
	}
	return name
}

// ForbiddenError reports the rights that the user lacks.
type ForbiddenError struct{ missing []string }

func (e *ForbiddenError) Error() string {
	return "forbidden: you may not " + strings.Join(e.missing, ", ") +
		": orb8 is installed and removed by administrators of the cluster"
}

// Verbs that commands need on the resources of the installation.
var (
	applyVerbs  = []string{"get", "create", "patch"}
	removeVerbs = []string{"list", "delete"}
)

// checkRights returns a *ForbiddenError unless the user may apply the objects and, where others may have to be pruned,
// delete them.
func (i *Installer) checkRights(ctx context.Context, values *deploy.Values, prune bool) error {
	verbs := applyVerbs
	if prune {
		verbs = slices.Concat(applyVerbs, removeVerbs)
	}
	needed := append(rightsOn(values, verbs),
		right{"list", "", "pods", values.Namespace}, right{"list", "apps", "controllerrevisions", values.Namespace})
	return i.review(ctx, needed)
}

// rightsOn returns verbs on the resources of the installation.
func rightsOn(values *deploy.Values, verbs []string) []right {
	var all []right
	for _, o := range values.Objects() {
		gvr, _ := meta.UnsafeGuessKindToResource(o.GetObjectKind().GroupVersionKind())
		for _, verb := range verbs {
			r := right{verb, gvr.Group, gvr.Resource, o.GetNamespace()}
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	return all
}

// parallelReviews bounds the reviews in progress.
const parallelReviews = 8

// review returns a *ForbiddenError for the missing rights. A cluster that answers no reviews is not asked again: the
// requests themselves fail then.
func (i *Installer) review(ctx context.Context, needed []right) error {
	if allowed, err := i.allowed(ctx, &right{"*", "*", "*", ""}); err != nil || allowed {
		return ctx.Err()
	}
	missing := make([]string, len(needed))
	var group errgroup.Group
	group.SetLimit(parallelReviews)
	for n := range needed {
		group.Go(func() error {
			if allowed, err := i.allowed(ctx, &needed[n]); err == nil && !allowed {
				missing[n] = needed[n].String()
			}
			return nil
		})
	}
	_ = group.Wait() // no function fails
	missing = slices.DeleteFunc(missing, func(s string) bool { return s == "" })
	if len(missing) > 0 {
		return cmp.Or(ctx.Err(), error(&ForbiddenError{missing}))
	}
	return ctx.Err()
}

func (i *Installer) allowed(ctx context.Context, r *right) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: r.namespace, Verb: r.verb, Group: r.group, Resource: r.resource,
		},
	}}
	answer, err := i.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	return err == nil && answer.Status.Allowed, err
}
