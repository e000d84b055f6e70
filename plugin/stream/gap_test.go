package stream

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// wantOneGap fails unless exactly one gap was counted.
func (b *harness) wantOneGap(gaps *[]time.Duration) {
	b.t.Helper()
	if len(*gaps) != 1 || (*gaps)[0] <= 0 {
		b.t.Errorf("not seen for %v, want one gap; messages %q", *gaps, b.lines())
	}
}

// kill ends a tracer without a last batch.
func (b *harness) kill(attempt int) {
	b.launcher.end(attempt, "was killed by signal 9")
	b.launcher.tracers[attempt].server.Stop()
}

func TestGap_SessionEndsDuringJobDeletion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {}, func(*tracer) {})
		gaps := b.gaps()
		b.launcher.deleting = func() { b.end() }
		b.run()
		b.await(5)
		b.kill(0)
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		b.wantOneGap(gaps)
		if last := b.statuses[len(b.statuses)-1]; !strings.HasPrefix(last, "reconnecting what happened from ") {
			t.Errorf("the stream's last status is %q", last)
		}
	})
}

func TestGap_TracerEndsByItself(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]event.NodeState{
		"stopped": event.NodeState_NODE_STATE_STOPPED, "failed": event.NodeState_NODE_STATE_FAILED,
	} {
		t.Run(name+" as the session ends", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t,
					func(tr *tracer) { tr.ends = &event.NodeStatus{State: state, Message: "its pod is deleted"} })
				gaps := b.gaps()
				b.run()
				b.await(5)
				b.end()
				if err := b.wait(); err != nil {
					t.Fatal(err)
				}
				b.wantOneGap(gaps)
				if !b.hasMessage("STOPPED tracer ended before the session did: its pod is deleted") {
					t.Errorf("messages %q", b.messages)
				}
			})
		})
	}
	t.Run("failed before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, func(tr *tracer) {
				tr.ends = &event.NodeStatus{State: event.NodeState_NODE_STATE_FAILED, Message: "a probe died"}
			})
			gaps := b.gaps()
			b.run()
			b.await(5)
			close(b.launcher.tracers[0].quits)
			if err := b.wait(); err == nil || !strings.Contains(err.Error(), "a probe died") {
				t.Fatal(err)
			}
			b.wantOneGap(gaps)
		})
	})
}

func TestGap_TargetsEndAfterTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		b.feed.goneFor = 0
		b.feed.gone.Store(true)
		gaps := b.gaps()
		b.run()
		b.await(5)
		close(b.launcher.tracers[0].hush)
		time.Sleep(time.Second) // in which nothing is seen
		b.kill(0)
		b.awaitMessage("nothing on the node is to be traced any more; nothing was seen from ")
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		b.wantOneGap(gaps)
	})
}

func TestGap_InterruptedMerge(t *testing.T) {
	t.Parallel()
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		want bool
	}{
		"the reader is gone": {t.Context(), false},
		"a second interrupt": {interrupted, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{Options: &Options{}}
			n.streamed.Store(true)
			n.cutShort(test.ctx, collect.ErrEnded)
			if n.gap.lost != test.want {
				t.Errorf("a gap: %v, want %v", n.gap.lost, test.want)
			}
		})
	}
}
