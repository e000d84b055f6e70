package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// testTimeout bounds a test's wait, in the time of its bubble.
const testTimeout = 5 * time.Minute

// tracer is a node's tracer as the wire shows it: the real gRPC and TLS over connections in memory, which keep the time
// of a synctest bubble, without a kernel behind.
type tracer struct {
	session.UnimplementedSessionServer
	identity *session.Identity
	listener *bufconn.Listener
	server   *grpc.Server
	instance uint64
	protocol uint32
	// startError is the error in Started.
	startError string
	// batches flows are sent, one in a batch; after cutAfter of them no more until the stream was cut, by cutNow.
	batches  int
	cutAfter int
	// flows are how many were made, sent all batches. They are the one stream's that holds streaming.
	streaming sync.Mutex
	flows     int
	sent      []*session.Batch
	// extraStarts is how many further Started messages with a warning it sends.
	extraStarts int
	// warns is the message of the status that it sends with its second flow.
	warns string
	// ends is the status in its last batch, which it sends on a Stop request or when quits is closed.
	ends  *event.NodeStatus
	quits chan struct{}
	// deaf: it does not answer the greeting. Closing hush silences it later, without a cut.
	deaf bool
	hush chan struct{}
	// answered gets a token for each heartbeat, unless it is full.
	answered chan struct{}

	mu      sync.Mutex
	resumes []uint64
	updates []*session.PodUpdate
	stop    chan struct{}
	once    sync.Once
	conns   []net.Conn
}

func startTracer(t *testing.T, client session.PublicKey, instance uint64) *tracer {
	t.Helper()
	identity, err := session.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracer{identity: identity, listener: bufconn.Listen(64 << 10), instance: instance,
		protocol: session.Protocol, batches: 5, stop: make(chan struct{}), hush: make(chan struct{}),
		quits: make(chan struct{}), answered: make(chan struct{}, 1)}
	tr.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(identity.ServerTLS(client))))
	session.RegisterSessionServer(tr.server, tr)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := tr.server.Serve(tr.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		tr.server.Stop()
		serving.Wait()
	})
	return tr
}

func (tr *tracer) Control(stream session.Session_ControlServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if tr.deaf {
		<-stream.Context().Done()
		return nil
	}
	if tr.protocol != first.GetHello().GetProtocol() {
		return status.Errorf(codes.FailedPrecondition, "the tracer (v9) speaks protocol %d, the client protocol %d",
			tr.protocol, first.GetHello().GetProtocol())
	}
	if err := stream.Send(&session.TracerMessage{Message: &session.TracerMessage_Welcome{Welcome: &session.Welcome{
		Protocol: tr.protocol, Version: "v1", Instance: tr.instance,
	}}}); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		switch {
		case m.GetPods() != nil:
			tr.mu.Lock()
			tr.updates = append(tr.updates, m.GetPods())
			first := m.GetPods().Complete
			tr.mu.Unlock()
			if first {
				started := &session.Started{Error: tr.startError}
				if tr.extraStarts > 0 {
					started.Warnings = []string{"no more room"}
				}
				for range tr.extraStarts + 1 {
					if err := stream.Send(&session.TracerMessage{Message: &session.TracerMessage_Started{
						Started: started}}); err != nil {
						return err
					}
				}
			}
		case m.GetHeartbeat() != nil:
			if tr.hushed() {
				continue
			}
			if err := stream.Send(&session.TracerMessage{Message: &session.TracerMessage_Heartbeat{
				Heartbeat: &session.Heartbeat{}}}); err != nil {
				return err
			}
			select {
			case tr.answered <- struct{}{}:
			default:
			}
		case m.GetStop() != nil:
			tr.once.Do(func() { close(tr.stop) })
		}
	}
}

func (tr *tracer) Events(req *session.EventsRequest, stream session.Session_EventsServer) error {
	tr.mu.Lock()
	tr.resumes = append(tr.resumes, req.ResumeFrom)
	resumed := len(tr.resumes) > 1
	tr.mu.Unlock()
	tr.streaming.Lock()
	defer tr.streaming.Unlock()
	next := max(req.ResumeFrom, 1)
	// Resend the batches from ResumeFrom, then send new flows, and repeat the promise that no earlier event follows.
	turn := time.NewTicker(10 * time.Millisecond)
	defer turn.Stop()
	for {
		for ; next <= uint64(len(tr.sent)); next++ {
			if err := stream.Send(tr.sent[next-1]); err != nil {
				return err
			}
		}
		select {
		case <-turn.C:
			if !tr.hushed() {
				tr.add(resumed)
			}
		case <-tr.stop:
			return stream.Send(tr.final(next))
		case <-tr.quits:
			return stream.Send(tr.final(next))
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (tr *tracer) final(sequence uint64) *session.Batch {
	events := []*event.Event{flowEvent(tr.instance, 99)}
	if tr.ends != nil {
		status := &event.Event_NodeStatus{NodeStatus: tr.ends}
		events = append(events, &event.Event{Time: events[0].Time, Kind: status})
	}
	return &session.Batch{Sequence: sequence, Final: true, Events: events}
}

// add makes the next batch: a flow's, while there are any and none is held for a cut.
func (tr *tracer) add(resumed bool) {
	batch := &session.Batch{Sequence: uint64(len(tr.sent)) + 1}
	if tr.flows < tr.batches && (resumed || tr.cutAfter == 0 || tr.flows < tr.cutAfter) {
		tr.flows++
		batch.Events = []*event.Event{flowEvent(tr.instance, uint64(tr.flows))}
		if tr.flows == 2 && tr.warns != "" {
			batch.Events = append(batch.Events, &event.Event{Time: batch.Events[0].Time,
				Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{State: event.NodeState_NODE_STATE_STREAMING,
					Message: tr.warns}}})
		}
	}
	batch.Watermark = uint64(time.Now().UnixNano())
	tr.sent = append(tr.sent, batch)
}

func (tr *tracer) hushed() bool {
	select {
	case <-tr.hush:
		return true
	default:
		return false
	}
}

// cutNow cuts what connections there are.
func (tr *tracer) cutNow() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, c := range tr.conns {
		c.Close()
	}
}

// flowEvent is one closed UDP flow whose port identifies the event.
func flowEvent(instance, n uint64) *event.Event {
	return &event.Event{Time: uint64(time.Now().UnixNano()), Kind: &event.Event_Flow{Flow: &event.Flow{
		Protocol: event.Protocol_PROTOCOL_UDP, Phase: event.Phase_PHASE_CLOSED, Observed: event.Side_SIDE_SRC,
		RoleKnown:   true,
		Src:         &event.Endpoint{Address: []byte{10, 0, 0, byte(instance)}, Port: 1000 + uint32(n)},
		Dst:         &event.Endpoint{Address: []byte{192, 0, 2, 1}, Port: 53},
		SrcCounters: &event.Counters{BytesSent: n},
	}}}
}

// launcher hands out the tracers that a test has prepared, one per attempt.
type launcher struct {
	t       *testing.T
	mu      sync.Mutex
	tracers []*tracer
	created []string
	deleted []string
	ended   map[string]string
	changed chan struct{}
	// deleting, where set, is called as a Job is deleted.
	deleting func()
}

func (l *launcher) Create(_ context.Context, spec *launch.Spec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.created = append(l.created, spec.JobName())
	return nil
}

func (l *launcher) Running(_ context.Context, spec *launch.Spec, progress func(string)) (string, error) {
	if spec.Attempt >= len(l.tracers) {
		return "", &launch.StartError{Node: spec.Node, Reason: "image", Message: "no such image"}
	}
	progress("starting")
	return fmt.Sprint(spec.Attempt), nil
}

func (l *launcher) Ended(ctx context.Context, job string) (string, error) {
	for {
		l.mu.Lock()
		how, ok := l.ended[job]
		changed := l.changed
		l.mu.Unlock()
		if ok {
			return how, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (l *launcher) end(attempt int, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[l.created[attempt]] = how
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *launcher) Extend(context.Context, string, time.Duration) error { return nil }

func (l *launcher) Shared(string) bool { return false }

func (l *launcher) Delete(ctx context.Context, job string) error {
	if l.deleting != nil {
		l.deleting()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = append(l.deleted, job)
	return ctx.Err()
}

// feed has one pod, and never news but that it is gone, or there again.
type feed struct {
	sent bool
	gone atomic.Bool
	// goneFor is for how long it has been gone.
	goneFor time.Duration
	back    chan struct{} // closed: there again
}

func (f *feed) Idle() (since time.Time, idle bool) { return time.Now().Add(-f.goneFor), f.gone.Load() }
func (f *feed) Busy(ctx context.Context) error {
	select {
	case <-f.back:
		f.gone.Store(false)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *feed) Reset() { f.sent = false }
func (f *feed) Next(ctx context.Context) (*session.PodUpdate, error) {
	if !f.sent {
		f.sent = true
		return &session.PodUpdate{Complete: true, Upsert: []*session.Pod{{Uid: "u", Name: "web"}}}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// harness runs the session of one node under test.
type harness struct {
	t         *testing.T
	launcher  *launcher
	feed      feed
	options   *Options
	end       context.CancelFunc
	result    chan error
	mu        sync.Mutex
	messages  []string
	ports     []uint32
	statuses  []string // in the stream of events
	gotEvent  chan struct{}
	collected sync.WaitGroup
}

func newHarness(t *testing.T, tracers ...func(*tracer)) *harness {
	t.Helper()
	identity, err := session.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	b := &harness{t: t, result: make(chan error, 1), gotEvent: make(chan struct{}, 100),
		feed: feed{goneFor: time.Minute, back: make(chan struct{})}}
	b.launcher = &launcher{t: t, ended: map[string]string{}, changed: make(chan struct{})}
	for i, prepare := range tracers {
		tr := startTracer(t, identity.PublicKey(), uint64(i+1))
		prepare(tr)
		b.launcher.tracers = append(b.launcher.tracers, tr)
	}
	tracerOf := func(pod string) *tracer {
		var i int
		if _, err := fmt.Sscan(pod, &i); err != nil {
			t.Errorf("pod %q: %v", pod, err)
		}
		return b.launcher.tracers[i]
	}
	collector := collect.New(collect.Options{})
	b.options = &Options{
		Launcher: b.launcher, Identity: identity, Version: "v1", Collector: collector,
		Spec:   launch.Spec{Session: "s", Namespace: "demo", Deadline: time.Hour},
		Config: &session.Config{Kinds: []string{"flow"}, Interval: int64(time.Second)},
		Ready: func(_ context.Context, pod string) (session.Ready, session.PublicKey, error) {
			tr := tracerOf(pod)
			return session.Ready{Protocol: tr.protocol, Version: "v9"}, tr.identity.PublicKey(), nil
		},
		Dial: func(ctx context.Context, pod string) (net.Conn, error) {
			tr := tracerOf(pod)
			c, err := tr.listener.DialContext(ctx)
			if err == nil {
				tr.mu.Lock()
				tr.conns = append(tr.conns, c)
				tr.mu.Unlock()
			}
			return c, err
		},
		OnStatus: func(_ string, state event.NodeState, message string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.messages = append(b.messages, state.String()+" "+message)
		},
	}
	return b
}

// lines returns a copy of the messages so far, while the session runs.
func (b *harness) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

func (b *harness) run() {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Hour)
	running, end := context.WithCancel(ctx)
	b.end = end
	b.collected.Go(func() {
		err := b.options.Collector.Run(ctx, func(ev *event.Event) error {
			if f := ev.GetFlow(); f != nil {
				b.mu.Lock()
				b.ports = append(b.ports, uint32(f.Src.Address[3])*10000+f.Src.Port)
				b.mu.Unlock()
				b.gotEvent <- struct{}{}
			}
			if s := ev.GetNodeStatus(); s != nil {
				b.mu.Lock()
				b.statuses = append(b.statuses, s.State.Word()+" "+s.Message)
				b.mu.Unlock()
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			b.t.Error(err)
		}
	})
	go func() {
		b.result <- Run(ctx, running, "n1", &b.feed, b.options)
		b.options.Collector.Finish()
	}()
	b.t.Cleanup(func() {
		cancel()
		b.collected.Wait()
	})
}

func (b *harness) await(events int) {
	b.t.Helper()
	for range events {
		select {
		case <-b.gotEvent:
		case <-time.After(testTimeout):
			b.t.Fatalf("an event is missing; messages %q", b.lines())
		}
	}
}

func (b *harness) wait() error {
	b.t.Helper()
	select {
	case err := <-b.result:
		b.collected.Wait()
		slices.Sort(b.ports) // what comes when is the merge's business
		if !slices.Equal(b.launcher.created, b.launcher.deleted) {
			b.t.Errorf("jobs made %q, deleted %q", b.launcher.created, b.launcher.deleted)
		}
		return err
	case <-time.After(testTimeout):
		b.t.Fatalf("the session does not end; messages %q", b.lines())
		return nil
	}
}

func (b *harness) hasMessage(part string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.messages, func(s string) bool { return strings.Contains(s, part) })
}

func TestRun_ReportsTracerWarningAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(tr *tracer) { tr.warns = "no more room for pods" })
		b.run()
		b.await(5)
		if !b.hasMessage("NODE_STATE_STREAMING no more room for pods") {
			t.Errorf("messages %q", b.messages)
		}
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRun_EndDrainsEventsAndDeletesJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		b.run()
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if want := []uint32{11001, 11002, 11003, 11004, 11005, 11099}; !slices.Equal(b.ports, want) {
			t.Errorf("events %d, want %d", b.ports, want)
		}
		if tr := b.launcher.tracers[0]; len(tr.updates) != 1 || !tr.updates[0].Complete ||
			tr.updates[0].Upsert[0].Name != "web" {
			t.Errorf("pod updates %v", tr.updates)
		}
	})
}

func TestRun_ResumesAfterCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(tr *tracer) { tr.cutAfter = 3 })
		b.run()
		b.await(3)
		b.launcher.tracers[0].cutNow()
		b.await(2)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if want := []uint32{11001, 11002, 11003, 11004, 11005, 11099}; !slices.Equal(b.ports, want) {
			t.Errorf("events %d, want each once: %d", b.ports, want)
		}
		tr := b.launcher.tracers[0]
		if len(tr.resumes) != 2 || tr.resumes[0] != 0 || tr.resumes[1] < 4 {
			t.Errorf("asked for %d, want all, and then what comes after the batches it has: three at least", tr.resumes)
		}
		if len(b.launcher.created) != 1 {
			t.Errorf("%d tracers for one cut", len(b.launcher.created))
		}
	})
}

func TestRun_ReplacesLostTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {}, func(*tracer) {})
		b.run()
		b.await(5)
		b.launcher.end(0, "was killed by signal 9")
		b.launcher.tracers[0].server.Stop()
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if !b.hasMessage("tracer was killed by signal 9; starting another; what happens until it streams is not seen") {
			t.Errorf("messages %q", b.messages)
		}
		if want := []uint32{11001, 11002, 11003, 11004, 11005, 21001, 21002, 21003, 21004, 21005,
			21099}; !slices.Equal(b.ports, want) {
			t.Errorf("events %d, want %d", b.ports, want)
		}
	})
}

func TestRun_PermanentErrorFailsTheNode(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tracers []func(*tracer)
		want    string
	}{
		"another protocol": {[]func(*tracer){func(tr *tracer) { tr.protocol = 7 }}, "tracer v9 speaks protocol 7, " +
			"this kubectl orb8 is v1 and speaks protocol 2: use the tracer of the same version"},
		"an incapable node": {
			[]func(*tracer){func(tr *tracer) { tr.startError = "flows need Linux 5.15, this is 4.19" }},
			"flows need Linux 5.15, this is 4.19"},
		"an image not there": {nil, "image: no such image"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, test.tracers...)
				b.run()
				err := b.wait()
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				if len(b.launcher.created) != 1 {
					t.Errorf("%d attempts, want one", len(b.launcher.created))
				}
				if !b.hasMessage(test.want) {
					t.Errorf("messages %q", b.messages)
				}
			})
		})
	}
}

func TestRun_RefusesForeignKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		other, err := session.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		b.options.Ready = func(context.Context, string) (session.Ready, session.PublicKey, error) {
			return session.Ready{Protocol: session.Protocol}, other.PublicKey(), nil
		}
		b.run()
		for !b.hasMessage("pinned session key") {
			select {
			case err := <-b.result:
				t.Fatalf("ended: %v; messages %q", err, b.messages)
			case <-time.After(time.Millisecond):
			}
		}
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(b.ports) > 0 {
			t.Errorf("took events from a stranger: %d", b.ports)
		}
	})
}

func TestReadReady_FindsLineInLog(t *testing.T) {
	t.Parallel()
	id, err := session.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	line := session.Ready{Protocol: 3, Version: "v2", Key: id.PublicKey().String()}.Line()
	ready, key, err := readReady(strings.NewReader("some\nother words\n" + line + "\nmore"))
	if err != nil || ready.Version != "v2" || key != id.PublicKey() {
		t.Errorf("got %+v, %v", ready, err)
	}
	for _, log := range []string{"", "nothing here\n", strings.Repeat("x", 2*maxLogBytes)} {
		if _, _, err := readReady(strings.NewReader(log)); err == nil {
			t.Errorf("a log of %d bytes without a ready line gave one", len(log))
		}
	}
	_, _, err = readReady(strings.NewReader(strings.Repeat("x\n", maxLogBytes) + line))
	if !errors.Is(err, errNoReady) {
		t.Errorf("a log without end was read to its end: %v", err)
	}
}
