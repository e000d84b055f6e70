package plugin

import (
	"context"
	"errors"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster"
)

// jobDeadline is how long the tracers' Jobs may last without word of this session: short where the user may extend it.
func (c *tracerConfig) jobDeadline(ctx context.Context) time.Duration {
	if c.may(ctx, access{"patch", "batch", "jobs", ""}) != nil {
		return fixedDeadline
	}
	return tracerDeadline
}

// may returns a *cluster.ForbiddenError where the user lacks a permission.
func (c *tracerConfig) may(ctx context.Context, a access) error {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: c.tracerNamespace, Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.subresource,
		},
	}}
	answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		// Some platforms do not let users ask. The deed itself will then tell.
		return ctx.Err()
	}
	if answer.Status.Allowed {
		return nil
	}
	resource := a.resource
	if a.subresource != "" {
		resource += "/" + a.subresource
	}
	return &cluster.ForbiddenError{Verb: a.verb, Resource: resource, Namespace: c.tracerNamespace}
}

// grantError is a refusal with the command that grants the right.
type grantError struct {
	error
	command string
}

func (e *grantError) Unwrap() error { return e.error }

// withGrant adds to a refusal in one of the session's namespaces the command that grants what the session takes in both.
func (c *tracerConfig) withGrant(err error) error {
	var forbidden *cluster.ForbiddenError
	if !errors.As(err, &forbidden) || forbidden.Namespace != c.namespace && forbidden.Namespace != c.tracerNamespace {
		return err
	}
	return &grantError{err, grantCommand(c.namespace, c.tracerNamespace)}
}
