package live

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/stream"
)

// fakeView is a cluster whose nodes come one after the other.
type fakeView struct {
	atStart  int
	nodes    chan string
	untraced cluster.Untraced
	closed   bool
}

func (v *fakeView) Name(netip.Addr, uint16, event.Protocol) collect.Name      { return collect.Name{} }
func (v *fakeView) Backs(netip.AddrPort, netip.AddrPort, event.Protocol) bool { return false }
func (v *fakeView) Targets() (pods, nodes int)                                { return v.atStart, v.atStart }
func (v *fakeView) Untraced(context.Context) cluster.Untraced                 { return v.untraced }
func (v *fakeView) NewFeed(string) *targets.Feed                              { return nil }
func (v *fakeView) Close()                                                    { v.closed = true }

// Node implements View.
func (v *fakeView) Node(context.Context, string) *corev1.Node { return nil }

func (v *fakeView) NextNode(ctx context.Context) (string, error) {
	select {
	case name := <-v.nodes:
		return name, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// fakeLauncher is closed at the session's end; only streams, which are fakes too, would start tracers.
type fakeLauncher struct {
	stream.Launcher
	closed atomic.Bool
}

func (l *fakeLauncher) Close() { l.closed.Store(true) }

// fakeConsumer counts events, and fails with err from the first one on.
type fakeConsumer struct {
	err    error
	events []*event.Event
	closed atomic.Bool
}

func (c *fakeConsumer) Show(ev *event.Event) error {
	if ev.GetExec() != nil {
		c.events = append(c.events, ev)
	}
	return c.err
}
func (c *fakeConsumer) Close() error { c.closed.Store(true); return c.err }
func (c *fakeConsumer) Shown() int   { return len(c.events) }

// fakeNode is one node's stream, as a script sees it.
type fakeNode struct {
	hard, running context.Context
	name          string
	options       *stream.Options
	source        *collect.Source
	sequence      uint64
}

func (n *fakeNode) report(state event.NodeState, message string) {
	n.options.OnStatus(n.name, state, message)
}

// send feeds one batch of events.
func (n *fakeNode) send(events ...*event.Event) {
	n.sequence++
	now := uint64(time.Now().UnixNano())
	for _, ev := range events {
		ev.Node, ev.Time = n.name, now
	}
	_ = n.source.Feed(n.hard, collect.Batch{Instance: 1, Sequence: n.sequence, Events: events, Watermark: now})
}

// streamToEnd is the script of a node that streams until the end.
func (n *fakeNode) streamToEnd() error {
	n.report(streaming, "")
	n.send(exec())
	<-n.running.Done()
	n.report(stopped, "")
	return nil
}

// fail is the script of a node that fails.
func (n *fakeNode) fail(message string) error {
	n.report(failed, message)
	return errors.New(message)
}

func exec() *event.Event {
	return &event.Event{
		Kind: &event.Event_Exec{Exec: &event.Exec{Phase: event.ExecPhase_EXEC_PHASE_EXEC, Comm: []byte("sh")}},
	}
}

// harness is a session of fakes. A test changes them before it runs the session.
type harness struct {
	*Session
	status   *log
	client   *kubefake.Client
	view     *fakeView
	launcher *fakeLauncher
	consumer *fakeConsumer
	// open replaces the opening of the view.
	open func(ctx context.Context, note func(string)) (View, error)
	// openErr is the error of the consumer's opening.
	openErr error
	// scripts are what nodes do, by name; others stream to the end.
	scripts map[string]func(*fakeNode) error
	denied  map[string]bool // rights, as "verb resource"

	mu       sync.Mutex
	starting int // nodes that are in their script
	most     int
}

// newHarness is a session that has targets on these nodes from the start.
func newHarness(t *testing.T, config Config, names ...string) *harness {
	h := &harness{
		status: &log{logged: map[string]bool{}}, client: kubefake.New(), consumer: &fakeConsumer{},
		view: &fakeView{atStart: len(names), nodes: make(chan string, 100)}, launcher: &fakeLauncher{},
		scripts: map[string]func(*fakeNode) error{}, denied: map[string]bool{},
	}
	for _, name := range names {
		h.view.nodes <- name
	}
	h.client.PrependReactor("create", "selfsubjectaccessreviews",
		func(action k8stesting.Action) (bool, runtime.Object, error) {
			review := action.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
			a := review.Spec.ResourceAttributes
			review.Status.Allowed = !h.denied[a.Verb+" "+a.Resource]
			return true, review, nil
		})
	h.Session = h.newSession(t, config)
	return h
}

func (h *harness) newSession(t *testing.T, config Config) *Session {
	if config.MaxNodes == 0 {
		config.MaxNodes = 50
	}
	config.Spec = launch.Spec{Namespace: "demo"}
	config.Tracer = &session.Config{Kinds: []string{"exec"}, Interval: int64(time.Second)}
	return New(t.Context(), config, Dependencies{
		Client: h.client,
		Open: func(ctx context.Context, note func(string)) (View, error) {
			if h.open != nil {
				return h.open(ctx, note)
			}
			return h.view, nil
		},
		Launch: func(context.Context, string, View) Launcher { return h.launcher },
		Dialer: noNetwork{},
		Stream: h.stream,
		Status: h.status,
	})
}

// noNetwork is a Dialer that nobody uses.
type noNetwork struct{}

func (noNetwork) Dial(context.Context, string) (net.Conn, error) {
	return nil, errors.New("no network")
}
func (noNetwork) Ahead(string) {}
func (noNetwork) Close()       {}

// stream runs the script of a node.
func (h *harness) stream(hard, running context.Context, name string, _ stream.Feed, o *stream.Options) error {
	h.mu.Lock()
	h.starting++
	h.most = max(h.most, h.starting)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.starting--
		h.mu.Unlock()
	}()
	n := &fakeNode{hard: hard, running: running, name: name, options: o, source: o.Collector.Add(name)}
	defer n.source.Close()
	if script := h.scripts[name]; script != nil {
		return script(n)
	}
	return n.streamToEnd()
}

func (h *harness) now() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starting
}

// result is the result of Run.
type result struct {
	tally *advice.Tally
	err   error
}

// run runs the session to its end.
func (h *harness) run() (*advice.Tally, error) {
	return h.Run(func() (Consumer, error) {
		if h.openErr != nil {
			return nil, h.openErr
		}
		return h.consumer, nil
	})
}

// start runs the session beside the test.
func (h *harness) start() <-chan result {
	done := make(chan result, 1)
	go func() {
		tally, err := h.run()
		done <- result{tally, err}
	}()
	synctest.Wait()
	return done
}

// maxAtOnce is the largest number of tracers that were launched at the same time.
func (h *harness) maxAtOnce() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most
}
