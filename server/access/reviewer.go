package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/cache"
)

// group is the API group of the virtual resources.
const group = "orb8.dev"

const (
	allowedLife = 30 * time.Second
	deniedLife  = 5 * time.Second
	// freshAge is how old a verdict may be where a fresh one is wanted. Streams of one user share reviews.
	freshAge   = 5 * time.Second
	maxReviews = 1 << 15
	// Reviews a second at the API server: further ones wait.
	reviewRate, reviewBurst = 500, 1000
	reviewTimeout           = 5 * time.Second
)

// reviewer asks the API server for verdicts. It is safe for concurrent use.
type reviewer struct {
	client  kubernetes.Interface
	limiter *rate.Limiter
	cache   *cache.Cache[question, verdict]
	flight  singleflight.Group
}

// question is whether a user may get a virtual resource in a namespace; empty: in all.
type question struct {
	user                userID
	resource, namespace string
}

// userID is a hash of all that the API server knows of a user.
type userID [sha256.Size]byte

type verdict struct {
	allowed bool
	at      time.Time
}

func newReviewer(client kubernetes.Interface) *reviewer {
	return &reviewer{client: client, limiter: rate.NewLimiter(reviewRate, reviewBurst),
		cache: cache.New[question, verdict](maxReviews)}
}

// identify returns the hash of a user, whose encoding is canonical.
func identify(u *orbit.User) (userID, error) {
	encoded, err := u.Extension()
	return sha256.Sum256(encoded.Value), err
}

// review returns whether a user may get a resource in a namespace. fresh: not as it was half a minute ago.
func (r *reviewer) review(ctx context.Context, u *orbit.User, q question, fresh bool) (allowed bool, err error) {
	if v, ok := r.cache.Get(q); ok && (!fresh || time.Since(v.at) < freshAge) {
		return v.allowed, nil
	}
	// One caller that gives up does not fail the others.
	done := r.flight.DoChan(string(q.user[:])+q.resource+"/"+q.namespace, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
		defer cancel()
		return r.createReview(ctx, u, q)
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return false, result.Err
		}
		return result.Val.(bool), nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (r *reviewer) createReview(ctx context.Context, u *orbit.User, q question) (bool, error) {
	if err := r.limiter.Wait(ctx); err != nil {
		return false, fmt.Errorf("too many access reviews: %w", err)
	}
	asked := time.Now()
	extra := make(map[string]authorizationv1.ExtraValue, len(u.Extra))
	for key, values := range u.Extra {
		extra[key] = values
	}
	answer, err := r.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: u.Name, UID: u.UID, Groups: u.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "get", Group: group, Resource: q.resource, Namespace: q.namespace,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("create subjectaccessreviews: %w", err)
	}
	life := deniedLife
	if answer.Status.Allowed {
		life = allowedLife
	}
	r.cache.Put(q, verdict{answer.Status.Allowed, asked}, life)
	return answer.Status.Allowed, nil
}
