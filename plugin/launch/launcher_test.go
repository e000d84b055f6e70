package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

// failing returns a client whose cluster answers a verb on Jobs with an error.
func failing(verb string, err error, objects ...runtime.Object) *kubefake.Client {
	client := kubefake.New(objects...)
	client.PrependReactor(verb, "jobs", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, err })
	return client
}

func TestExtend_MovesTheDeadline(t *testing.T) {
	s := spec()
	job := s.Job()
	client := kubefake.New(job)
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

// interrupted is a cluster whose client is cancelled, or cut, while it creates a Job.
type interrupted struct {
	cancel  context.CancelFunc // nil: the connection is cut
	aborted bool
	jobs    map[string]bool
}

func (i *interrupted) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "/jobs") || r.URL.Query().Has("watch") {
		return nil, errors.New("not served")
	}
	switch r.Method {
	case http.MethodPost:
		job := &batchv1.Job{}
		if err := json.NewDecoder(r.Body).Decode(job); err != nil {
			return nil, err
		}
		i.jobs[job.Name] = true
		if i.cancel == nil {
			return nil, io.ErrUnexpectedEOF
		}
		i.cancel()
		i.aborted = r.Context().Err() != nil
		body, err := json.Marshal(job)
		return &http.Response{
			StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(bytes.NewReader(body)), Request: r,
		}, err
	case http.MethodDelete:
		delete(i.jobs, path.Base(r.URL.Path))
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
			Body:    io.NopCloser(strings.NewReader(`{"kind": "Status", "apiVersion": "v1", "status": "Success"}`)),
			Request: r,
		}, nil
	}
	return nil, errors.New("not served")
}

func TestCreate_LeavesNoJobBehind(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		t.Run(fmt.Sprintf("cancelled %t", cancelled), func(t *testing.T) {
			s := spec()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cluster := &interrupted{jobs: map[string]bool{}}
			want := io.ErrUnexpectedEOF
			if cancelled {
				cluster.cancel, want = cancel, context.Canceled
			}
			client, err := kube.NewForConfig(&rest.Config{
				Host: "https://cluster.example", Transport: cluster,
				ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON},
			})
			if err != nil {
				t.Fatal(err)
			}
			l := &Launcher{
				client: client, namespace: s.Namespace, changed: make(chan struct{}), claims: map[string]*claim{},
			}
			if err := l.Create(ctx, s); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if cluster.aborted {
				t.Error("the request was aborted: the API server may take it after the Job's deletion")
			}
			if len(cluster.jobs) > 0 {
				t.Errorf("left %v", cluster.jobs)
			}
		})
	}
}
