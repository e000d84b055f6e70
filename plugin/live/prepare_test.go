package live

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

func TestPrepare_MissingRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1")
		h.denied["create jobs"] = true
		tally, err := h.run()
		var forbidden *cluster.ForbiddenError
		if !errors.As(err, &forbidden) || forbidden.Verb != "create" || tally != nil || !h.view.closed {
			t.Errorf("%v, %v", tally, err)
		}
	})
}

// TestPrepare_OrderOfErrors wants a user without any right to read why the targets were not found.
func TestPrepare_OrderOfErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notFound := &cluster.NotFoundError{Kind: "pod", Name: "web-0"}
		other := errors.New("no route to host")
		for _, test := range []struct {
			open   error
			denied bool
			want   string
		}{
			{notFound, true, notFound.Error()},
			{other, false, other.Error()},
			{other, true, `forbidden: may not create jobs in namespace "demo"`},
		} {
			h := newHarness(t, Config{})
			h.denied["create jobs"] = test.denied
			h.open = func(context.Context, func(string)) (View, error) { return nil, test.open }
			if _, err := h.run(); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		}
	})
}

func TestPrepare_TargetTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.view.untraced = cluster.Untraced{Reasons: []string{"pod web-0 has ended", "pod web-1 too"}, Final: true}
		if _, err := h.run(); err == nil || err.Error() != "pod web-0 has ended; pod web-1 too" || !h.view.closed {
			t.Errorf("got %v", err)
		}
	})
}

func TestPrepare_ReportsMissingTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: time.Second})
		h.view.untraced = cluster.Untraced{Reasons: []string{"pod web-0 is not scheduled"}}
		h.open = func(_ context.Context, note func(string)) (View, error) {
			note("Services are not named")
			return h.view, nil
		}
		if _, err := h.run(); err != nil {
			t.Fatal(err)
		}
		h.status.expect(t, "note: Services are not named", "pod web-0 is not scheduled")
	})
}

func TestPrepare_DeadlineByRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, may := range []bool{true, false} {
			h := newHarness(t, Config{}, "n1")
			h.denied["patch jobs"] = !may
			var got time.Duration
			h.scripts["n1"] = func(n *fakeNode) error {
				got = n.options.Spec.Deadline
				return n.fail("enough")
			}
			<-h.start()
			if want := launch.JobDeadline(may); got != want {
				t.Errorf("deadline %v, want %v", got, want)
			}
		}
	})
}

func TestPrepare_RuntimeClassUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1")
		h.config.Spec.RuntimeClass = launch.RuntimeClassAuto
		h.client.PrependReactor("get", "runtimeclasses", func(k8stesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("no route to host")
		})
		if _, err := h.run(); err == nil || err.Error() != "no route to host" || !h.view.closed {
			t.Errorf("got %v", err)
		}
	})
}

func TestSweep_RemovesLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: time.Second}, "n1")
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: "demo", Labels: launch.Labels()}}
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
		if err := h.client.Tracker().Add(job); err != nil {
			t.Fatal(err)
		}
		if _, err := h.run(); err != nil {
			t.Fatal(err)
		}
		h.status.expect(t, "removed what an earlier session left: demo/old")
	})
}

func TestSweep_FailureIsANote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: time.Second}, "n1")
		for _, resource := range []string{"jobs", "pods"} {
			h.client.PrependReactor("list", resource, func(k8stesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("no")
			})
		}
		if _, err := h.run(); err != nil {
			t.Fatal(err)
		}
		h.status.expect(t, "note: could not look for leftovers of earlier sessions: list leftovers: no",
			"note: list leftovers: no")
	})
}
