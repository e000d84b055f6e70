package launch

import (
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// failing returns a client whose cluster answers a verb on Jobs with an error.
func failing(verb string, err error, objects ...runtime.Object) *fake.Clientset {
	client := fake.NewClientset(objects...)
	client.PrependReactor(verb, "jobs", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, err })
	return client
}

func TestExtend_MovesTheDeadline(t *testing.T) {
	s := spec()
	job := s.Job()
	client := fake.NewClientset(job)
	l := New(t.Context(), client, s.Namespace, s.Session)
	defer l.Close()
	if err := l.Extend(t.Context(), job.Name, 90*time.Second); err != nil {
		t.Fatal(err)
	}
	got, err := client.BatchV1().Jobs(s.Namespace).Get(t.Context(), job.Name, metav1.GetOptions{})
	if err != nil || got.Spec.ActiveDeadlineSeconds == nil || *got.Spec.ActiveDeadlineSeconds != 90 {
		t.Errorf("%v, %v, want 90 s", got.Spec.ActiveDeadlineSeconds, err)
	}
	if err := l.Extend(t.Context(), "deleted", time.Minute); err != nil {
		t.Errorf("a deleted Job: %v", err)
	}
}

func TestExtend_ReturnsError(t *testing.T) {
	s := spec()
	down := errors.New("connection refused")
	l := New(t.Context(), failing("patch", down), s.Namespace, s.Session)
	defer l.Close()
	err := l.Extend(t.Context(), s.JobName(), time.Minute)
	if !errors.Is(err, down) || !strings.HasPrefix(err.Error(), "extend the deadline of job "+s.Namespace+"/") {
		t.Errorf("got %v", err)
	}
}

func TestCreate_ExplainsErrors(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"namespace": {
			apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "demo"),
			`namespace: namespace "demo" not found: see kubectl get namespaces`,
		},
		"right": {
			apierrors.NewForbidden(jobs, "x", errors.New(`User "a" cannot create resource "jobs"`)),
			`forbidden: jobs.batch "x" is forbidden: User "a" cannot create resource "jobs"`,
		},
		"quota": {
			apierrors.NewForbidden(jobs, "x", errors.New("exceeded quota: q, requested: pods=1, used: pods=2, "+
				"limited: pods=2")),
			"quota: exceeded quota: q",
		},
		"other": {errors.New("connection refused"), "create job demo/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			l := New(t.Context(), failing("create", test.err), s.Namespace, s.Session)
			defer l.Close()
			err := l.Create(t.Context(), s)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s…", err, test.want)
			}
			if start := (*StartError)(nil); errors.As(err, &start) == (name == "other") ||
				start != nil && start.Node != s.Node {
				t.Errorf("got %+v", start)
			}
		})
	}
}

func TestDelete_ReturnsError(t *testing.T) {
	s := spec()
	down := errors.New("connection refused")
	l := New(t.Context(), failing("delete", down), s.Namespace, s.Session)
	defer l.Close()
	err := l.Delete(t.Context(), s.JobName())
	if !errors.Is(err, down) || !strings.HasPrefix(err.Error(), "delete job "+s.Namespace+"/") {
		t.Errorf("got %v", err)
	}
}
