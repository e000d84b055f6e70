package tracer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// received decodes what an Observer emits.
type received struct {
	*testing.T
	mu        sync.Mutex
	events    []*event.Event
	watermark uint64
}

func (r *received) take(b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, encoded := range b.Events {
		ev := &event.Event{}
		if err := proto.Unmarshal(encoded, ev); err != nil {
			r.Error(err)
		}
		if ev.GetTime() < r.watermark {
			r.Errorf("an event of %d after a watermark of %d", ev.GetTime(), r.watermark)
		}
		r.events = append(r.events, ev)
	}
	r.watermark = b.Watermark
}

func (r *received) flows() (n int, pods []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range r.events {
		if ev.GetFlow() != nil {
			n++
			if !slices.Contains(pods, ev.GetPod()) {
				pods = append(pods, ev.GetPod())
			}
		}
	}
	return n, pods
}

func TestObserver_EmitsNamedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel, got := newFakeKernel(t), &received{T: t}
		o := NewObserver(ObserverConfig{Node: "node-1", Version: "v1", Kernel: kernel, Emit: got.take,
			Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err := o.Apply(demoPods()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ready, done := make(chan []string, 1), make(chan error, 1)
		go func() {
			done <- o.Run(ctx, &session.Config{Kinds: []string{"flow"}}, func(kinds, _ []string) { ready <- kinds })
		}()
		if kinds := <-ready; !slices.Equal(kinds, []string{"flow"}) {
			t.Errorf("observes %v", kinds)
		}
		const flows = 3000 // more than a batch
		finished := make(chan struct{})
		kernel.source.orders <- order{cgroup: kernel.app, first: 1, last: flows, done: finished}
		<-finished
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n, pods := got.flows()
		if n != flows+1 || !slices.Equal(pods, []string{"web"}) { // the last sweep reports one
			t.Errorf("%d flows of pods %v, want %d of web", n, pods, flows+1)
		}
		if !kernel.source.closed || !kernel.scope.closed {
			t.Error("the probe or the scope is left open")
		}
	})
}

func TestObserver_FailsWithoutProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel(t)
		kernel.openError = errors.New("no BTF")
		o := NewObserver(ObserverConfig{Node: "node-1", Version: "v1", Kernel: kernel, Emit: func(Batch) {},
			Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		err := o.Run(t.Context(), &session.Config{Kinds: []string{"flow"}}, func(_, _ []string) { t.Error("ready") })
		if !errors.Is(err, kernel.openError) {
			t.Errorf("got %v", err)
		}
	})
}
