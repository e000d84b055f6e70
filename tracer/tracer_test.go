package tracer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

func sampleFlow(cookie uint64) *event.Flow {
	return &event.Flow{
		Protocol: event.Protocol_PROTOCOL_TCP,
		Phase:    event.Phase_PHASE_UPDATE,
		State:    event.TCPState_TCP_STATE_ESTABLISHED,
		Src:      &event.Endpoint{Address: []byte{10, 1, 2, 3}, Port: 41234, Pid: 4711, Comm: "client"},
		Dst:      &event.Endpoint{Address: []byte{10, 1, 2, 4}, Port: 8080},
		Observed: event.Side_SIDE_SRC,
		SrcCounters: &event.Counters{BytesSent: 1 << 20, BytesReceived: 4096, PacketsSent: 900, PacketsReceived: 450,
			Retransmits: proto.Uint64(1), SrttMicros: proto.Uint32(321)},
		StartTime:    1_700_000_000_000_000_000,
		LastTime:     1_700_000_001_000_000_000,
		SrcIsn:       0xdeadbeef,
		DstIsn:       0xfeedf00d,
		IsnValid:     true,
		RoleKnown:    true,
		SocketCookie: cookie,
	}
}

// node is a running tracer with connections in memory, for tests in a synctest bubble.
type node struct {
	*testing.T
	*fakeKernel
	listener *bufconn.Listener
	identity *session.Identity // the tracer's
	client   *session.Identity
	ready    *bytes.Buffer
	stop     context.CancelFunc
	done     chan struct{} // closed when Run has returned
	err      error         // Run's error
}

func startNode(t *testing.T, adapt func(*Config)) *node {
	t.Helper()
	listener := bufconn.Listen(64 << 10)
	n := &node{T: t, fakeKernel: newFakeKernel(t), listener: listener, ready: new(bytes.Buffer),
		done: make(chan struct{})}
	n.identity, n.client = newIdentity(t), newIdentity(t)
	config := Config{
		Node:      "node-1",
		Version:   "v1.2.3",
		Release:   "6.1.0",
		BootID:    "4b701bc0",
		Instance:  77,
		Identity:  n.identity,
		Client:    n.client.PublicKey(),
		Listeners: []net.Listener{listener},
		Kernel:    n.fakeKernel,
		Ready:     n.ready,
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
		// Only tests of heartbeats send any.
		HeartbeatTimeout: time.Minute,
	}
	if adapt != nil {
		adapt(&config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() {
		defer close(n.done)
		n.err = Run(ctx, config)
	}()
	t.Cleanup(func() {
		cancel()
		<-n.done
	})
	return n
}

func newIdentity(t *testing.T) *session.Identity {
	t.Helper()
	id, err := session.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ended waits for the tracer to end and returns what Run returned.
func (n *node) ended() error {
	n.Helper()
	select {
	case <-n.done:
		return n.err
	case <-time.After(20 * time.Second):
		n.Fatal("the tracer goes on")
		return nil
	}
}

// line is one connection to a node.
type line struct {
	*node
	session.SessionClient
	conn    *grpc.ClientConn
	mu      sync.Mutex
	raw     []net.Conn
	control grpc.BidiStreamingClient[session.ClientMessage, session.TracerMessage]
	welcome *session.Welcome
}

// dial connects with a key. The connection is closed at the end of the test.
func (n *node) dial(as *session.Identity) *line {
	n.Helper()
	l := &line{node: n}
	conn, err := grpc.NewClient("passthrough:///node",
		grpc.WithTransportCredentials(credentials.NewTLS(as.ClientTLS(n.identity.PublicKey()))),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			raw, err := n.listener.DialContext(ctx)
			if err == nil {
				l.mu.Lock()
				l.raw = append(l.raw, raw)
				l.mu.Unlock()
			}
			return raw, err
		}))
	if err != nil {
		n.Fatal(err)
	}
	l.conn, l.SessionClient = conn, session.NewSessionClient(conn)
	n.Cleanup(func() { _ = conn.Close() }) // cut may have closed it
	return l
}

// cut breaks the connection without a goodbye, as a lost port-forward does.
func (l *line) cut() {
	l.Helper()
	l.mu.Lock()
	for _, raw := range l.raw {
		raw.Close()
	}
	l.mu.Unlock()
	if err := l.conn.Close(); err != nil {
		l.Error(err)
	}
}

// greet opens Control and sends Hello.
func (n *node) greet() *line {
	n.Helper()
	l := n.dial(n.client)
	var err error
	if l.control, err = l.Control(n.Context()); err != nil {
		n.Fatal(err)
	}
	hello := &session.Hello{Protocol: session.Protocol, Version: "v1.2.3"}
	l.send(&session.ClientMessage{Message: &session.ClientMessage_Hello{Hello: hello}})
	if l.welcome = l.hear().GetWelcome(); l.welcome == nil {
		n.Fatal("no Welcome")
	}
	return l
}

func (l *line) send(m *session.ClientMessage) {
	l.Helper()
	if err := l.control.Send(m); err != nil {
		l.Fatal(err)
	}
}

func (l *line) hear() *session.TracerMessage {
	l.Helper()
	m, err := l.control.Recv()
	if err != nil {
		l.Fatal(err)
	}
	return m
}

func configMessage(kinds ...string) *session.ClientMessage {
	return &session.ClientMessage{Message: &session.ClientMessage_Config{Config: &session.Config{Kinds: kinds}}}
}

func podsMessage(update *session.PodUpdate) *session.ClientMessage {
	return &session.ClientMessage{Message: &session.ClientMessage_Pods{Pods: update}}
}

func demoPods() *session.PodUpdate {
	return &session.PodUpdate{Complete: true, Upsert: []*session.Pod{{
		Uid: podUID, Namespace: "demo", Name: "web", Workload: "deploy/web", Target: true,
		Containers: []*session.Container{{Name: "app", Id: containerID, Target: true}},
	}}}
}

// begin greets, configures and waits for Started.
func (n *node) begin() *line {
	n.Helper()
	l := n.greet()
	l.send(configMessage("flow"))
	l.send(podsMessage(demoPods()))
	started := l.hear().GetStarted()
	if started == nil || started.GetError() != "" {
		n.Fatalf("started: %v", started)
	}
	return l
}

// events opens the data stream.
func (l *line) events(resumeFrom uint64) grpc.ServerStreamingClient[session.Batch] {
	l.Helper()
	request := &session.EventsRequest{ResumeFrom: resumeFrom}
	if resumeFrom > 0 {
		request.Instance = l.welcome.GetInstance()
	}
	stream, err := l.Events(l.Context(), request)
	if err != nil {
		l.Fatal(err)
	}
	return stream
}

// tally counts the events that a client has received.
type tally struct {
	testing.TB
	next      uint64
	watermark uint64
	cookies   map[uint64]int
	lost      map[string]uint64
	statuses  []string
	final     bool
}

func newTally(t testing.TB) *tally {
	return &tally{TB: t, next: 1, cookies: make(map[uint64]int), lost: make(map[string]uint64)}
}

func (y *tally) take(b *session.Batch) {
	y.Helper()
	lossy := false
	if len(b.GetEvents()) > session.MaxBatchEvents {
		y.Errorf("%d events in one batch", len(b.GetEvents()))
	}
	for _, ev := range b.GetEvents() {
		if ev.GetNode() != "node-1" {
			y.Errorf("an event of node %q", ev.GetNode())
		}
		switch kind := ev.GetKind().(type) {
		case *event.Event_Flow:
			y.cookies[kind.Flow.GetSocketCookie()]++
			if ev.GetPod() != "web" || ev.GetTime() == 0 {
				y.Errorf("a flow at %d of pod %q", ev.GetTime(), ev.GetPod())
			}
		case *event.Event_Lost:
			y.lost[fmt.Sprint(kind.Lost.GetStage(), " ", kind.Lost.GetSource())] += kind.Lost.GetCount()
			lossy = true
		case *event.Event_NodeStatus:
			y.statuses = append(y.statuses, fmt.Sprint(kind.NodeStatus.GetState(), " ", kind.NodeStatus.GetMessage()))
		}
	}
	if b.GetSequence() != y.next && !lossy {
		y.Errorf("batch %d came in the place of %d", b.GetSequence(), y.next)
	}
	y.next = b.GetSequence() + 1
	if b.GetWatermark() < y.watermark {
		y.Errorf("the watermark went back by %d ns", y.watermark-b.GetWatermark())
	}
	y.watermark = b.GetWatermark()
	y.final = b.GetFinal()
}

// until reads batches until enough returns true, or the stream ends.
func (y *tally) until(stream grpc.ServerStreamingClient[session.Batch], enough func() bool) error {
	for !enough() {
		b, err := stream.Recv()
		if err != nil {
			return err
		}
		y.take(b)
	}
	return nil
}

// exactly checks that each of the flows first … last arrived once.
func (y *tally) exactly(first, last uint64) {
	y.Helper()
	for cookie := first; cookie <= last; cookie++ {
		if y.cookies[cookie] != 1 {
			y.Fatalf("flow %d came %d times", cookie, y.cookies[cookie])
		}
	}
}

func TestSession_FromHelloToFinalBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		l := n.begin()
		if want := (&session.Welcome{Protocol: session.Protocol, Version: "v1.2.3", Node: "node-1", Instance: 77,
			Kernel: "6.1.0", BootId: "4b701bc0"}); !proto.Equal(l.welcome, want) {
			t.Errorf("welcome: %v", l.welcome)
		}
		if ready, key, ok, err := session.ParseReady(n.ready.String()); !ok || err != nil ||
			key != n.identity.PublicKey() || ready.Instance != 77 {
			t.Errorf("ready line %q: %+v, %v, %v", n.ready, ready, ok, err)
		}
		if !n.scope.has(n.app) {
			t.Error("started with the target's cgroup out of scope")
		}
		stream := l.events(0)
		n.source.emit(n.app, 1, 3000)
		n.source.emit(1, 3001, 3002) // an unknown cgroup
		got := newTally(t)
		if err := got.until(stream, func() bool { return len(got.cookies) == 3000 }); err != nil {
			t.Fatal(err)
		}
		b, err := stream.Recv()
		if err != nil || len(b.GetEvents()) != 0 || b.GetWatermark() == 0 {
			t.Errorf("a quiet node said %v, %v", b, err)
		}
		got.take(b)
		l.send(&session.ClientMessage{Message: &session.ClientMessage_Heartbeat{Heartbeat: &session.Heartbeat{}}})
		if l.hear().GetHeartbeat() == nil {
			t.Error("the heartbeat was not answered")
		}
		l.send(&session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}})
		if err := got.until(stream, func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ended with %v", err)
		}
		got.exactly(1, 3000)
		got.exactly(lastCookie, lastCookie)
		if !got.final {
			t.Error("the last batch was not final")
		}
		// The two events without a name count as lost.
		if got.lost["LOSS_STAGE_NAMING "] != 2 || len(got.lost) != 1 {
			t.Errorf("lost: %v", got.lost)
		}
		before := time.Now()
		if err := l.control.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := n.ended(); err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took >= lingerLimit {
			t.Errorf("the tracer stayed for %v after its client had all and said so", took)
		}
		if !n.source.closed || !n.scope.closed {
			t.Error("not all was detached")
		}
	})
}

func TestSession_ResumesAfterCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		l := n.begin()
		got := newTally(t)
		const rounds, each = 8, 2500
		for round := range uint64(rounds) {
			stream := l.events(got.next)
			var emitting sync.WaitGroup
			emitting.Go(func() { n.source.emit(n.app, round*each+1, (round+1)*each) })
			// Stop reading while batches are under way.
			batches := 0
			if err := got.until(stream, func() bool { batches++; return batches > 2 }); err != nil {
				t.Fatal(err)
			}
			l.cut()
			emitting.Wait()
			l = n.begin()
			if l.welcome.GetInstance() != 77 {
				t.Fatal("another instance")
			}
		}
		stream := l.events(got.next)
		l.send(&session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}})
		if err := got.until(stream, func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got.exactly(1, rounds*each)
		got.exactly(lastCookie, lastCookie)
		if len(got.lost) != 0 || !got.final {
			t.Errorf("lost %v, final %v", got.lost, got.final)
		}
	})
}

func TestSession_CountsEventsOfGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, func(c *Config) { c.ringBytes = 64 << 10 })
		l := n.begin()
		got := newTally(t)
		n.source.emit(n.app, 1, 10)
		if err := got.until(l.events(0), func() bool { return len(got.cookies) == 10 }); err != nil {
			t.Fatal(err)
		}
		l.cut()
		n.source.mu.Lock()
		n.source.lost = []bpf.Loss{{Stage: event.LossStage_LOSS_STAGE_KERNEL_MAP, Count: 5}}
		n.source.mu.Unlock()
		const last = 30_000 // far more than the ring holds
		n.source.emit(n.app, 11, last)
		l = n.begin()
		stream := l.events(got.next)
		l.send(&session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}})
		if err := got.until(stream, func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		gap := got.lost["LOSS_STAGE_STREAM_GAP "]
		// Meanwhile the final batch may evict one more batch from the full ring.
		dropped := got.lost["LOSS_STAGE_QUEUE "]
		if gap == 0 || got.lost["LOSS_STAGE_KERNEL_MAP flow"] != 5 {
			t.Errorf("lost: %v", got.lost)
		}
		if received := uint64(len(got.cookies)); received+gap+dropped != last+1 {
			t.Errorf("%d received and %d + %d lost of %d", received, gap, dropped, last+1)
		}
		got.exactly(last, last)
	})
}

func TestSession_CountsEventsOfSlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, func(c *Config) { c.ringBytes = 64 << 10 })
		l := n.begin()
		stream := l.events(0)
		const last = 70_000           // more than the ring holds
		n.source.emit(n.app, 1, last) // the test does not read meanwhile: flow control stops the stream
		l.send(&session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}})
		got := newTally(t)
		if err := got.until(stream, func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		dropped := got.lost["LOSS_STAGE_QUEUE "]
		if dropped == 0 || len(got.lost) != 1 {
			t.Errorf("lost: %v", got.lost)
		}
		if received := uint64(len(got.cookies)); received+dropped != last+1 {
			t.Errorf("%d received and %d dropped of %d", received, dropped, last+1)
		}
	})
}

func TestSession_NewInstanceStartsAtFirstBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		l := n.begin()
		n.source.emit(n.app, 1, 10)
		l.welcome = &session.Welcome{Instance: 76}
		got := newTally(t)
		if err := got.until(l.events(900), func() bool { return len(got.cookies) == 10 }); err != nil {
			t.Fatal(err)
		}
		l.welcome.Instance = 77
		if _, err := l.events(math.MaxUint64).Recv(); status.Code(err) != codes.OutOfRange {
			t.Errorf("a batch of the future: %v", err)
		}
	})
}

func TestTracer_EndsWithoutHeartbeats(t *testing.T) {
	t.Parallel()
	t.Run("when nobody ever comes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n := startNode(t, func(c *Config) { c.FirstContactTimeout = 50 * time.Millisecond })
			if err := n.ended(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("when heartbeats stop", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n := startNode(t, func(c *Config) { c.HeartbeatTimeout = 400 * time.Millisecond })
			l := n.begin()
			n.source.emit(n.app, 1, 1)
			stream := l.events(0)
			for range 30 { // 600 ms of heartbeats and more
				l.send(&session.ClientMessage{Message: &session.ClientMessage_Heartbeat{
					Heartbeat: &session.Heartbeat{}}})
				l.hear()
				select {
				case <-n.done:
					t.Fatal("ended amid heartbeats")
				case <-time.After(20 * time.Millisecond):
				}
			}
			// Reading the data stream does not keep the tracer alive.
			if err := newTally(t).until(stream, func() bool { return false }); status.Code(err) != codes.Unavailable {
				t.Errorf("the stream ended with %v", err)
			}
			if err := n.ended(); err != nil {
				t.Error(err)
			}
			if !n.source.closed || !n.scope.closed {
				t.Error("not all was detached")
			}
		})
	})
	t.Run("when the connection is cut for too long", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n := startNode(t, func(c *Config) { c.HeartbeatTimeout = 100 * time.Millisecond })
			n.begin().cut()
			if err := n.ended(); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestServer_ServesOnlyPinnedClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, func(c *Config) { c.FirstContactTimeout = 500 * time.Millisecond })
		stranger := n.dial(newIdentity(t))
		control, err := stranger.Control(t.Context())
		if err == nil {
			_, err = control.Recv()
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("a stranger got %v", err)
		}
		// Connections with other keys do not keep the tracer alive.
		if err := n.ended(); err != nil {
			t.Error(err)
		}
	})
}

func TestServer_RefusesOtherProtocol(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		control, err := n.dial(n.client).Control(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hello := &session.Hello{Protocol: session.Protocol + 1, Version: "v9.9.9"}
		if err := control.Send(
			&session.ClientMessage{Message: &session.ClientMessage_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		_, err = control.Recv()
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "v1.2.3") ||
			!strings.Contains(err.Error(), "v9.9.9") {
			t.Errorf("got %v", err)
		}
	})
}

func TestServer_RefusesInvalidMessages(t *testing.T) {
	t.Parallel()
	big := demoPods()
	big.Upsert[0].Name = strings.Repeat("x", 300)
	config := func(c *session.Config) *session.ClientMessage {
		return &session.ClientMessage{Message: &session.ClientMessage_Config{Config: c}}
	}
	for _, test := range []struct {
		name string
		send []*session.ClientMessage
		want codes.Code
	}{
		{"pods beyond the limits", []*session.ClientMessage{podsMessage(big)}, codes.InvalidArgument},
		{"an incomplete first update", []*session.ClientMessage{podsMessage(&session.PodUpdate{})},
			codes.InvalidArgument},
		{"no kinds", []*session.ClientMessage{configMessage()}, codes.InvalidArgument},
		{"an interval too short",
			[]*session.ClientMessage{config(&session.Config{Kinds: []string{"flow"}, Interval: 1})},
			codes.InvalidArgument},
		{"a negative interval",
			[]*session.ClientMessage{config(&session.Config{Kinds: []string{"flow"}, Interval: -1})},
			codes.InvalidArgument},
		{"a ring of 3 bytes", []*session.ClientMessage{config(&session.Config{Kinds: []string{"flow"}, RingBytes: 3})},
			codes.InvalidArgument},
		{"a ring of 1 GiB",
			[]*session.ClientMessage{config(&session.Config{Kinds: []string{"flow"}, RingBytes: 1 << 30})},
			codes.InvalidArgument},
		{"too many flows",
			[]*session.ClientMessage{config(&session.Config{Kinds: []string{"flow"}, MaxFlows: math.MaxUint32})},
			codes.InvalidArgument},
		{"two configurations", []*session.ClientMessage{configMessage("flow"), configMessage("flow", "flow")},
			codes.FailedPrecondition},
		{"two greetings",
			[]*session.ClientMessage{
				{Message: &session.ClientMessage_Hello{Hello: &session.Hello{Protocol: session.Protocol}}}},
			codes.InvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := startNode(t, nil).greet()
				for _, m := range test.send {
					l.send(m)
				}
				var err error
				for err == nil {
					_, err = l.control.Recv()
				}
				if status.Code(err) != test.want {
					t.Errorf("got %v", err)
				}
			})
		})
	}
	t.Run("no greeting", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n := startNode(t, nil)
			control, err := n.dial(n.client).Control(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := control.Send(configMessage("flow")); err != nil {
				t.Fatal(err)
			}
			if _, err := control.Recv(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("a message too large", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := startNode(t, nil).greet()
			l.send(podsMessage(&session.PodUpdate{Complete: true,
				DeleteUids: []string{strings.Repeat("x", session.MaxMessageBytes)}}))
			if _, err := l.control.Recv(); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestServer_NewStreamEndsPrevious(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		l := n.begin()
		previous := l.events(0)
		first, err := previous.Recv() // the handler runs
		if err != nil {
			t.Fatal(err)
		}
		got := newTally(t)
		got.take(first)
		newer := l.events(0)
		if err := got.until(previous, func() bool { return false }); status.Code(err) != codes.Aborted {
			t.Errorf("the previous data stream ended with %v", err)
		}
		n.source.emit(n.app, 1, 1)
		got = newTally(t)
		if err := got.until(newer, func() bool { return len(got.cookies) == 1 }); err != nil {
			t.Error(err)
		}
		n.greet()
		if _, err := l.control.Recv(); status.Code(err) != codes.Aborted {
			t.Errorf("the previous control stream ended with %v", err)
		}
	})
}

func TestSession_ReportsProbeThatFailsToAttach(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, kind, want string
	}{
		{"the kernel lacks it", "flow", "trace flow: kernel lacks wonders (needs Linux 9.9 or newer)"},
		{"the tracer lacks it", "smell", `this tracer (v1.2.3) cannot trace "smell", only flow`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := startNode(t, func(c *Config) {
					c.Kernel.(*fakeKernel).openError = &bpf.NotSupportedError{Feature: "wonders", MinKernel: "9.9"}
				})
				l := n.greet()
				l.send(configMessage(test.kind))
				l.send(podsMessage(demoPods()))
				if got := l.hear().GetStarted().GetError(); got != test.want {
					t.Errorf("got %q", got)
				}
				if err := l.control.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if err := n.ended(); err == nil || err.Error() != test.want {
					t.Errorf("run: %v", err)
				}
			})
		})
	}
}

func TestSession_ReportsProbeThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		l := n.begin()
		n.source.emit(n.app, 1, 1)
		n.source.fail(errors.New("ring buffer is gone"))
		got := newTally(t)
		if err := got.until(l.events(0), func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		last := "NODE_STATE_FAILED trace flow: ring buffer is gone"
		if len(got.statuses) == 0 || got.statuses[len(got.statuses)-1] != last || !got.final {
			t.Errorf("statuses %q, final %v", got.statuses, got.final)
		}
		got.exactly(1, 1)
		if err := l.control.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := n.ended(); err == nil || err.Error() != "trace flow: ring buffer is gone" {
			t.Errorf("run: %v", err)
		}
	})
}

func TestTermination_SendsRemainingEvents(t *testing.T) {
	t.Parallel()
	t.Run("of any source", func(t *testing.T) { terminate(t, false) })
	t.Run("of one with incomplete records", func(t *testing.T) { terminate(t, true) })
}

func terminate(t *testing.T, incomplete bool) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		n.incomplete = incomplete
		l := n.begin()
		n.source.emit(n.app, 1, 100)
		stream := l.events(0)
		if _, err := stream.Header(); err != nil {
			t.Fatal(err)
		}
		n.stop()
		got := newTally(t)
		if err := got.until(stream, func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got.exactly(1, 100)
		got.exactly(lastCookie, lastCookie)
		if !got.final || len(got.statuses) != 1 || !strings.HasPrefix(got.statuses[0], "NODE_STATE_STOPPED") {
			t.Errorf("final %v, statuses %q", got.final, got.statuses)
		}
		if err := l.control.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := n.ended(); err != nil {
			t.Error(err)
		}
	})
}

func TestSession_DeliversFinalBatchAfterCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		l := n.begin()
		n.source.emit(n.app, 1, 100)
		got := newTally(t)
		if err := got.until(l.events(0), func() bool { return len(got.cookies) == 100 }); err != nil {
			t.Fatal(err)
		}
		next := got.next
		l.send(&session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}})
		stream := l.events(next)
		for { // everything is sent, and nothing arrives
			b, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if b.GetFinal() {
				break
			}
		}
		l.cut()
		l = n.begin()
		if err := got.until(l.events(next), func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got.exactly(lastCookie, lastCookie)
		if err := l.control.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := n.ended(); err != nil {
			t.Error(err)
		}
	})
}
