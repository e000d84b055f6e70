package launch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// move is one move of a deadline: when, and until when, since the Job was made.
type move struct{ at, until time.Duration }

// extender records the moves of one Job's deadline.
type extender struct {
	created time.Time
	// sharedFrom is when the pod is seen to have foreign containers; 0: never.
	sharedFrom time.Duration
	err        func(at time.Duration) error
	moves      []move
	tried      int
}

func (e *extender) Shared(string) bool {
	return e.sharedFrom > 0 && time.Since(e.created) >= e.sharedFrom
}

func (e *extender) Extend(_ context.Context, _ string, d time.Duration) error {
	e.tried++
	at := time.Since(e.created)
	if e.err != nil {
		if err := e.err(at); err != nil {
			return err
		}
	}
	e.moves = append(e.moves, move{at, d})
	return nil
}

// keepFor runs Keep for d on a fake clock and returns the errors that it reported.
func keepFor(t *testing.T, d time.Duration, e *extender) (reported []error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		s := spec()
		s.Deadline = time.Minute
		e.created = time.Now()
		Keep(ctx, e, s, e.created, func(err error) { reported = append(reported, err) })
	})
	return reported
}

func TestJobDeadline(t *testing.T) {
	// A deadline that Keep extends ends the Job of a killed client within minutes. It leaves time to retry extensions.
	if d := JobDeadline(true); d < 2*session.HeartbeatTimeout || d > 2*time.Minute {
		t.Errorf("%v with extensions", d)
	}
	// Without extensions the deadline is the longest session.
	if d := JobDeadline(false); d < 30*time.Minute {
		t.Errorf("%v without extensions", d)
	}
}

func TestKeep_ExtendsDeadlineRarely(t *testing.T) {
	e := &extender{}
	if reported := keepFor(t, 10*time.Minute, e); len(reported) > 0 {
		t.Errorf("reported %v", reported)
	}
	if len(e.moves) < 18 || len(e.moves) > 20 {
		t.Errorf("%d moves in 10 min, want one each 30 s", len(e.moves))
	}
	deadline := time.Minute
	for _, m := range e.moves {
		if m.at >= deadline-session.HeartbeatTimeout || m.until != m.at+time.Minute {
			t.Errorf("moved at %v to %v, when it was %v", m.at, m.until, deadline)
		}
		deadline = m.until
	}
}

// TestKeep_SharedPodHasAShortDeadline wants the Job of a killed client to end in seconds although a sidecar runs on.
func TestKeep_SharedPodHasAShortDeadline(t *testing.T) {
	e := &extender{sharedFrom: 5 * time.Second}
	keepFor(t, 30*time.Second, e)
	if len(e.moves) == 0 || e.moves[0].at > e.sharedFrom+session.HeartbeatInterval {
		t.Fatalf("moves %v, want the first within a heartbeat of 5 s", e.moves)
	}
	last := e.moves[0].at
	for _, m := range e.moves {
		if m.until-m.at > SharedDeadline || m.at-last > 2*session.HeartbeatInterval {
			t.Errorf("moved at %v to %v; the last before was at %v", m.at, m.until, last)
		}
		last = m.at
	}
	if last < 30*time.Second-2*session.HeartbeatInterval {
		t.Errorf("moves end at %v", last)
	}
}

func TestKeep_ReportsErrorOnceAndRetries(t *testing.T) {
	e := &extender{err: func(at time.Duration) error {
		if at < 40*time.Second {
			return errors.New("away")
		}
		return nil
	}}
	reported := keepFor(t, 50*time.Second, e)
	if len(reported) != 1 || reported[0].Error() != "away" || len(e.moves) != 1 || e.moves[0].at > 42*time.Second {
		t.Errorf("reported %v, moves %v", reported, e.moves)
	}
}

func TestKeep_RetriesForbiddenRarely(t *testing.T) {
	e := &extender{sharedFrom: time.Second, err: func(time.Duration) error {
		return apierrors.NewForbidden(schema.GroupResource{Group: "batch", Resource: "jobs"}, "j", errors.New("no"))
	}}
	reported := keepFor(t, time.Minute, e)
	if len(reported) != 1 || e.tried > 20 {
		t.Errorf("reported %v, tried %d times", reported, e.tried)
	}
}

// TestShared_IsAPodWithForeignContainers wants native sidecars not to count: the kubelet ends them.
func TestShared_IsAPodWithForeignContainers(t *testing.T) {
	s := spec()
	alone := podOf(s, waiting("ContainerCreating", ""))
	native := alone.DeepCopy()
	native.Spec.InitContainers = slices.Clone(alone.Spec.Containers)
	if shared(alone) || shared(native) || !shared(injected(s, waitingFor("ContainerCreating", ""))) {
		t.Error("taken for another")
	}
}
