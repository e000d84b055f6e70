// Package tokens reviews bearer tokens at the API server, and bounds how many reviews a client and all clients cause.
package tokens

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/cache"
)

const (
	// maxTokenBytes caps a token. One of a service account takes 1 KiB.
	maxTokenBytes = 8 << 10
	// acceptedLife and refusedLife are how long the outcome of a review is reused.
	acceptedLife = 30 * time.Second
	refusedLife  = 10 * time.Second
	maxCached    = 4096
	// Reviews a second at the API server, of one client and of all.
	clientRate, clientBurst = 5, 20
	totalRate, totalBurst   = 50, 100
	maxClients              = 4096
	clientMemory            = time.Minute
	timeout                 = 10 * time.Second
)

// Reviewer reviews tokens. It is safe for concurrent use.
type Reviewer struct {
	client  kubernetes.Interface
	total   *rate.Limiter
	clients *cache.Cache[string, *rate.Limiter]
	// Of separate caches: bad tokens, of which anyone can make many, do not evict good ones.
	accepted *cache.Cache[key, *authenticationv1.UserInfo]
	refused  *cache.Cache[key, error]
	flight   singleflight.Group
}

// key is the hash of a token: tokens are not kept.
type key [sha256.Size]byte

// New returns a Reviewer.
func New(client kubernetes.Interface) *Reviewer {
	return &Reviewer{
		client:   client,
		total:    rate.NewLimiter(totalRate, totalBurst),
		clients:  cache.New[string, *rate.Limiter](maxClients),
		accepted: cache.New[key, *authenticationv1.UserInfo](maxCached),
		refused:  cache.New[key, error](maxCached),
	}
}

// Review returns whose token it is. from is the address of the client, without a port. Errors are gRPC's.
func (r *Reviewer) Review(ctx context.Context, from, token string) (*authenticationv1.UserInfo, error) {
	if token == "" || len(token) > maxTokenBytes || strings.ContainsFunc(token, notOfToken) {
		return nil, status.Error(codes.Unauthenticated, "the token is not one of a service account")
	}
	k := key(sha256.Sum256([]byte(token)))
	if user, ok := r.accepted.Get(k); ok {
		return user, nil
	}
	if err, ok := r.refused.Get(k); ok {
		return nil, err
	}
	limiter := r.clients.GetOrPut(from, clientMemory, func() *rate.Limiter {
		return rate.NewLimiter(clientRate, clientBurst)
	})
	if !limiter.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "too many tokens from "+from)
	}
	if !r.total.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "too many tokens to review")
	}
	// One caller that gives up does not fail the others.
	done := r.flight.DoChan(string(k[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return r.review(ctx, k, token)
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*authenticationv1.UserInfo), nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// notOfToken reports whether a rune is in no JSON Web Token (RFC 7515, section 3.1).
func notOfToken(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
}

func (r *Reviewer) review(ctx context.Context, k key, token string) (*authenticationv1.UserInfo, error) {
	review, err := r.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{orbit.TokenAudience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "review the token: %v", err)
	}
	switch s := &review.Status; {
	case !s.Authenticated:
		reason := s.Error
		if reason == "" {
			reason = "the API server does not accept it"
		}
		err = status.Errorf(codes.Unauthenticated, "the token, for audience %s: %s", orbit.TokenAudience, reason)
	case !slices.Contains(s.Audiences, orbit.TokenAudience):
		err = status.Errorf(codes.Unauthenticated, "the token is not for audience %s", orbit.TokenAudience)
	case s.User.Username == "":
		err = status.Error(codes.Unauthenticated, "the token is of no user")
	default:
		r.accepted.Put(k, &s.User, acceptedLife)
		return &s.User, nil
	}
	r.refused.Put(k, err, refusedLife)
	return nil, err
}
