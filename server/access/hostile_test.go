package access

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestIdentify_BoundsReviewsOfBadTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, reviews := fake.NewClientset(), new(atomic.Int64)
		client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
			reviews.Add(1)
			return true, a.(clienttesting.CreateAction).GetObject(), nil // authenticates nobody
		})
		a := New(client, Options{})
		const seconds, rate = 10, 1000
		limited := 0
		for i := range seconds * rate {
			_, err := a.Identify(call(t, nil, "authorization", fmt.Sprint("Bearer bad", i)))
			switch status.Code(err) {
			case codes.ResourceExhausted:
				limited++
			case codes.Unauthenticated:
			default:
				t.Fatalf("token %d: %v", i, err)
			}
			time.Sleep(time.Second / rate)
		}
		// One client: 20 at once, and 5 a second.
		if n := reviews.Load(); n > 20+5*seconds+1 || n < 5*seconds {
			t.Errorf("%d reviews of %d tokens", n, seconds*rate)
		}
		if limited+int(reviews.Load()) != seconds*rate {
			t.Errorf("%d refused without a review, %d with one", limited, reviews.Load())
		}
		// The same bad token costs one review.
		before := reviews.Load()
		time.Sleep(time.Minute)
		for range 1000 {
			_, _ = a.Identify(call(t, nil, "authorization", "Bearer same"))
		}
		if n := reviews.Load() - before; n != 1 {
			t.Errorf("%d reviews of one token", n)
		}
	})
}

func TestOpen_ForbiddenAndMissingCostTheSame(t *testing.T) {
	// To the API server, a namespace that does not exist is one without RoleBindings. The user sees another namespace,
	// so that Open succeeds.
	for _, kinds := range [][]string{{"flow"}, {"flow", "dns", "exec"}, nil} {
		var reviews []int
		for _, ns := range []string{"forbidden", "missing"} {
			api := newAPI("flows", "mine", "dns", "forbidden2")
			v := open(t, api, kinds, []string{"mine", ns})
			for _, kind := range []string{"flow", "dns", "exec"} {
				if v.MaySee(kind, ns) {
					t.Errorf("%s is visible in %s", kind, ns)
				}
			}
			reviews = append(reviews, api.reviews())
		}
		if reviews[0] != reviews[1] {
			t.Errorf("kinds %q: %d reviews for a forbidden namespace, %d for a missing one", kinds, reviews[0],
				reviews[1])
		}
	}
}
