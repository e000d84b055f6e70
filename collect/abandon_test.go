package collect

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestRun_InterruptedCountsWhatWaits ends Run while flows, queries and other events wait.
func TestRun_InterruptedCountsWhatWaits(t *testing.T) {
	const mergeLost = `a merge "interrupted" 3; b queue "" 7; b merge "interrupted" 2`
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Namer: cluster})
		ctx, cut := context.WithCancel(t.Context())
		exec := func() *event.Event {
			return &event.Event{Time: uint64(time.Now().UnixNano()), Kind: &event.Event_Exec{Exec: &event.Exec{}}}
		}
		feed := func(node string, events ...*event.Event) error {
			return c.Add(node).Feed(ctx, Batch{Instance: 1, Sequence: 1, Events: events, Watermark: 1})
		}
		flow := shape{pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000",
			phase: closed, sent: 5}
		other := flow
		other.src, other.phase = "10.0.0.1:5001", fresh
		query := seenQuery{side: byDst, client: "10.0.0.1:4000", server: "10.0.1.1:53", pod: "server", at: time.Now()}
		lost := &event.Event{
			Time: 1, Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 7}},
		}
		if err := errors.Join(feed("a", exec(), flow.event(), other.event()),
			feed("b", exec(), query.event(), lost)); err != nil {
			t.Fatal(err)
		}
		if err := c.Add("b").Status(ctx, &event.NodeStatus{}); err != nil {
			t.Fatal(err)
		}
		cut()
		var reported uint64
		if err := c.Run(ctx, func(ev *event.Event) error {
			if ev.GetLost() == nil {
				t.Errorf("emitted %v after the end", ev)
			}
			reported += ev.GetLost().GetCount()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := lossesOf(c); got != mergeLost || reported != 12 {
			t.Errorf("lost %s, of which events reported %d; want %s", got, reported, mergeLost)
		}
		if err := feed("c", exec()); !errors.Is(err, ErrEnded) {
			t.Errorf("a batch after the end: %v, want %v", err, ErrEnded)
		}
	})
}

// TestRun_InterruptedWhenAllIsOut has nothing to count.
func TestRun_InterruptedWhenAllIsOut(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		s := shape{pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000", phase: fresh,
			sent: 5}
		w.feed("a", s.event())
		w.want(2*time.Second, "new client+->server 5")
		w.stop()
		synctest.Wait()
		if got := lossesOf(w.c); got != "" {
			t.Errorf("lost %s", got)
		}
	})
}
