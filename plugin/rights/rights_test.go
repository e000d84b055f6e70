package rights

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

// reviewer is a client whose cluster answers reviews by allow, and the reviews as "verb resource.group in namespace".
func reviewer(allow func(what string) (bool, error)) (*kubefake.Client, func() []string) {
	client := kubefake.New()
	var mu sync.Mutex
	var asked []string
	client.PrependReactor("create", "selfsubjectaccessreviews",
		func(action k8stesting.Action) (bool, runtime.Object, error) {
			review := action.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
			a := review.Spec.ResourceAttributes
			what := a.Verb + " " + strings.TrimSuffix(a.Resource+"/"+a.Subresource, "/")
			mu.Lock()
			asked = append(asked, what+" "+a.Namespace)
			mu.Unlock()
			allowed, err := allow(what)
			review.Status.Allowed = allowed
			return true, review, err
		})
	return client, func() []string { return slices.Sorted(slices.Values(asked)) }
}

func TestCheck_RequestsAllRequiredRights(t *testing.T) {
	client, asked := reviewer(func(string) (bool, error) { return true, nil })
	if err := Check(t.Context(), client, "demo"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"create jobs demo", "create pods/portforward demo", "delete jobs demo", "get pods/log demo",
		"get pods/portforward demo", "list pods demo", "watch pods demo",
	}
	if got := asked(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestCheck_NamesTheFirstRefusal(t *testing.T) {
	client, _ := reviewer(func(what string) (bool, error) { return what != "get pods/log", nil })
	var forbidden *cluster.ForbiddenError
	err := Check(t.Context(), client, "demo")
	if !errors.As(err, &forbidden) || forbidden.Verb != "get" || forbidden.Resource != "pods/log" ||
		forbidden.Namespace != "demo" {
		t.Errorf("got %v", err)
	}
}

func TestCheck_AccessReviewUnavailable(t *testing.T) {
	client, _ := reviewer(func(string) (bool, error) { return false, errors.New("no") })
	if err := Check(t.Context(), client, "demo"); err != nil {
		t.Errorf("got %v: the request itself will show", err)
	}
	if !MayExtend(t.Context(), client, "demo") {
		t.Error("may not extend, which is not known")
	}
}

func TestMayExtend(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		client, asked := reviewer(func(string) (bool, error) { return allowed, nil })
		if got := MayExtend(t.Context(), client, "demo"); got != allowed || fmt.Sprint(asked()) != "[patch jobs demo]" {
			t.Errorf("got %v, want %v; asked %v", got, allowed, asked())
		}
	}
}

func TestUser_OmitsUnsafeNames(t *testing.T) {
	for name, want := range map[string]string{"alice@x.dev": "alice@x.dev", "a; rm": ""} {
		client := kubefake.New()
		client.PrependReactor("create", "selfsubjectreviews", func(k8stesting.Action) (bool, runtime.Object, error) {
			status := authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: name}}
			return true, &authenticationv1.SelfSubjectReview{Status: status}, nil
		})
		if got := User(t.Context(), client); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestPermissions_RefusesOtherManifests(t *testing.T) {
	if _, err := Permissions("rules: {}"); err == nil {
		t.Error("no error")
	}
}
