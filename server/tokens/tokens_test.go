package tokens

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// reviewer returns a Reviewer at an API server that answers with answer, and the number of reviews so far.
func reviewer(answer func(token string) (authenticationv1.TokenReviewStatus, error)) (*Reviewer, *atomic.Int64) {
	client, reviews := fake.NewClientset(), new(atomic.Int64)
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		reviews.Add(1)
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		var err error
		if review.Status, err = answer(review.Spec.Token); err != nil {
			return true, nil, err
		}
		if len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != orbit.TokenAudience {
			err = errors.New("reviewed for another audience")
		}
		return true, review, err
	})
	return New(client), reviews
}

func good(name string) authenticationv1.TokenReviewStatus {
	return authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{orbit.TokenAudience},
		User: authenticationv1.UserInfo{Username: name}}
}

func TestReview_Outcomes(t *testing.T) {
	other := good("alice")
	other.Audiences = []string{"https://kubernetes.default.svc"}
	unaware := good("alice")
	unaware.Audiences = nil
	bad := authenticationv1.TokenReviewStatus{Error: "expired"}
	for name, test := range map[string]struct {
		token  string
		status authenticationv1.TokenReviewStatus
		err    error
		want   codes.Code
	}{
		"good":                    {"a.b.c", good("alice"), nil, codes.OK},
		"bad":                     {"a.b.c", bad, nil, codes.Unauthenticated},
		"for another audience":    {"a.b.c", other, nil, codes.Unauthenticated},
		"audience not reviewed":   {"a.b.c", unaware, nil, codes.Unauthenticated},
		"of nobody":               {"a.b.c", good(""), nil, codes.Unauthenticated},
		"no API server":           {"a.b.c", good("alice"), errors.New("down"), codes.Unavailable},
		"empty":                   {"", good("alice"), nil, codes.Unauthenticated},
		"of other characters":     {"a b", good("alice"), nil, codes.Unauthenticated},
		"longer than is sensible": {strings.Repeat("a", maxTokenBytes+1), good("alice"), nil, codes.Unauthenticated},
	} {
		r, _ := reviewer(func(string) (authenticationv1.TokenReviewStatus, error) { return test.status, test.err })
		user, err := r.Review(t.Context(), "10.0.0.1", test.token)
		if status.Code(err) != test.want || (err == nil) != (user != nil) {
			t.Errorf("%s: %v, %v, want %v", name, user, err, test.want)
		}
	}
}

func TestReview_CachesOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, reviews := reviewer(func(token string) (authenticationv1.TokenReviewStatus, error) {
			if token == "bad" {
				return authenticationv1.TokenReviewStatus{}, nil
			}
			return good("alice"), nil
		})
		for range 10 {
			if _, err := r.Review(t.Context(), "10.0.0.1", "good"); err != nil {
				t.Error(err)
			}
			if _, err := r.Review(t.Context(), "10.0.0.1", "bad"); status.Code(err) != codes.Unauthenticated {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if n := reviews.Load(); n != 2 {
			t.Errorf("%d reviews in 10 s, want 2", n)
		}
		time.Sleep(acceptedLife)
		_, err := r.Review(t.Context(), "10.0.0.1", "good")
		if n := reviews.Load(); n != 3 || err != nil {
			t.Errorf("%d reviews after the outcome is old, want 3; %v", n, err)
		}
	})
}

func TestReview_BoundsFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, reviews := reviewer(func(token string) (authenticationv1.TokenReviewStatus, error) {
			if strings.HasPrefix(token, "bad") {
				return authenticationv1.TokenReviewStatus{}, nil
			}
			return good("alice"), nil
		})
		// One client sends 1,000 bad tokens a second for 10 s, and many others as many.
		for i := range 10_000 {
			_, _ = r.Review(t.Context(), "10.0.0.1", fmt.Sprintf("bad%d", i)) // refused one way or another
			if i%1000 == 999 {
				time.Sleep(time.Second)
			}
		}
		if n := reviews.Load(); n > clientBurst+10*clientRate {
			t.Errorf("%d reviews for one client in 10 s", n)
		}
		if _, err := r.Review(t.Context(), "10.0.0.2", "good"); err != nil {
			t.Errorf("another client meanwhile: %v", err)
		}
		before := reviews.Load()
		for i := range 10_000 {
			_, _ = r.Review(t.Context(), fmt.Sprintf("10.1.%d.%d", i/256, i%256), fmt.Sprintf("badly%d", i))
		}
		if n := reviews.Load() - before; n > totalBurst {
			t.Errorf("%d reviews at once", n)
		}
		if r.refused.Len() > maxCached || r.clients.Len() > maxClients {
			t.Errorf("%d outcomes and %d clients are held", r.refused.Len(), r.clients.Len())
		}
	})
}

func TestReview_JoinsCallersOfOneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		r, reviews := reviewer(func(string) (authenticationv1.TokenReviewStatus, error) {
			<-hang
			return good("alice"), nil
		})
		gone, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 5)
		go func() { _, err := r.Review(gone, "10.0.0.1", "good"); errs <- err }()
		for range 4 {
			go func() { _, err := r.Review(t.Context(), "10.0.0.1", "good"); errs <- err }()
		}
		synctest.Wait()
		cancel()
		if err := <-errs; status.Code(err) != codes.Canceled {
			t.Errorf("who has given up gets %v", err)
		}
		close(hang)
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if reviews.Load() != 1 {
			t.Errorf("%d reviews, want 1", reviews.Load())
		}
	})
}
