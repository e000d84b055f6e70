package access

import (
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// api is an API server that reviews access.
type api struct {
	client *fake.Clientset

	mu     sync.Mutex
	grants map[string]bool // resource/namespace, or resource/* for all
	fail   error
	asked  []*authorizationv1.SubjectAccessReview
}

// newAPI returns an API server with grants: pairs of a resource and a namespace.
func newAPI(grants ...string) *api {
	a := &api{client: fake.NewClientset(), grants: map[string]bool{}}
	for i := 0; i < len(grants); i += 2 {
		a.grants[grants[i]+"/"+grants[i+1]] = true
	}
	a.client.PrependReactor("create", "subjectaccessreviews",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
			a.mu.Lock()
			defer a.mu.Unlock()
			a.asked = append(a.asked, review)
			r := review.Spec.ResourceAttributes
			review.Status.Allowed = a.grants[r.Resource+"/*"] ||
				r.Namespace != "" && a.grants[r.Resource+"/"+r.Namespace]
			return true, review, a.fail
		})
	return a
}

func (a *api) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *api) reviews() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// open opens a View of alice.
func open(t *testing.T, a *api, kinds, namespaces []string) *View {
	t.Helper()
	v, err := New(a.client, Options{}).Open(t.Context(), alice, kinds, namespaces)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
