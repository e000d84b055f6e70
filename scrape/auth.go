package scrape

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/internal/cache"
)

const (
	// maxTokenBytes caps a token. One of a service account takes 1 KiB.
	maxTokenBytes = 8 << 10
	// allowedLife and refusedLife are how long a verdict is reused.
	allowedLife, refusedLife = time.Minute, 10 * time.Second
	maxVerdicts              = 256
	// Reviews a second at the API server.
	reviewRate, reviewBurst = 10, 20
	reviewTimeout           = 5 * time.Second
	maxAnswerBytes          = 1 << 20
)

// Auth asks the API server who a caller is (TokenReview) and whether the caller may get /metrics (SubjectAccessReview).
// It is safe for concurrent use.
type Auth struct {
	client  *http.Client
	base    *url.URL
	limiter *rate.Limiter
	// Of separate caches: bad tokens, of which anyone can make many, do not evict good ones.
	allowed *cache.Cache[key, struct{}]
	refused *cache.Cache[key, *statusError]
}

// key is the hash of a token: tokens are not kept.
type key [sha256.Size]byte

// NewAuth returns an Auth that asks the API server of config.
func NewAuth(config *rest.Config) (*Auth, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	return &Auth{client: client, base: base, limiter: rate.NewLimiter(reviewRate, reviewBurst),
		allowed: cache.New[key, struct{}](maxVerdicts), refused: cache.New[key, *statusError](maxVerdicts)}, nil
}

// authorize returns nil for a request whose bearer may get the metrics.
func (a *Auth) authorize(r *http.Request) error {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "bearer") || token == "" || len(token) > maxTokenBytes {
		return &statusError{http.StatusUnauthorized, "want the header Authorization: Bearer and a token"}
	}
	k := key(sha256.Sum256([]byte(token)))
	if _, ok := a.allowed.Get(k); ok {
		return nil
	}
	if err, ok := a.refused.Get(k); ok {
		return err
	}
	if !a.limiter.Allow() {
		return &statusError{http.StatusTooManyRequests, "too many tokens to review"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	refused, err := a.review(ctx, token)
	switch {
	case err != nil:
		return &statusError{http.StatusServiceUnavailable, err.Error()}
	case refused != nil:
		a.refused.Put(k, refused, refusedLife)
		return refused
	}
	a.allowed.Put(k, struct{}{}, allowedLife)
	return nil
}

// review asks the API server; refused is its verdict, nil: the bearer of the token is allowed.
func (a *Auth) review(ctx context.Context, token string) (refused *statusError, err error) {
	who := &authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token},
	}
	if err := a.create(ctx, "authentication.k8s.io/v1/tokenreviews", who); err != nil {
		return nil, err
	}
	user := &who.Status.User
	if !who.Status.Authenticated || user.Username == "" {
		return &statusError{http.StatusUnauthorized, "the API server does not accept the token"}, nil
	}
	may := &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
		},
	}
	for key, values := range user.Extra {
		may.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	if err := a.create(ctx, "authorization.k8s.io/v1/subjectaccessreviews", may); err != nil {
		return nil, err
	}
	if !may.Status.Allowed {
		return &statusError{http.StatusForbidden,
			fmt.Sprintf("%s may not get %s: bind the ClusterRole orb8-metrics", user.Username, path)}, nil
	}
	return nil, nil
}

// create posts a review, and reads the answer into it.
func (a *Auth) create(ctx context.Context, resource string, review any) error {
	body, err := json.Marshal(review)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base.JoinPath("apis", resource).String(),
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	answer, err := a.client.Do(r)
	if err != nil {
		return fmt.Errorf("create %s: %w", resource, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("create %s: %w", resource, err)
	}
	if answer.StatusCode != http.StatusCreated && answer.StatusCode != http.StatusOK {
		return fmt.Errorf("create %s: the API server answers %s", resource, answer.Status)
	}
	if err := json.Unmarshal(text, review); err != nil {
		return fmt.Errorf("create %s: %w", resource, err)
	}
	return nil
}
