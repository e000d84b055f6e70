package collect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// world is a Collector with nodes and a clock of its own, and what it has emitted.
type world struct {
	t        *testing.T
	c        *Collector
	sequence map[string]uint64
	mu       sync.Mutex
	out      []*event.Event
	stop     func()
	ran      chan error
}

// inWorld runs a test in a world whose time passes only while all sleep.
func inWorld(t *testing.T, o Options, test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, c: New(o), sequence: map[string]uint64{}, ran: make(chan error, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		w.stop = cancel
		go func() {
			w.ran <- w.c.Run(ctx, func(ev *event.Event) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.out = append(w.out, proto.CloneOf(ev))
				return nil
			})
		}()
		test(w)
		cancel()
		if err := <-w.ran; err != nil {
			t.Error(err)
		}
	})
}

// feed sends a batch of a node whose watermark is its clock.
func (w *world) feed(node string, events ...*event.Event) {
	w.t.Helper()
	w.sequence[node]++
	b := Batch{Instance: 1, Sequence: w.sequence[node], Events: copies(events),
		Watermark: uint64(time.Now().UnixNano())}
	if err := w.c.Add(node).Feed(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	reuse(b.Events)
}

func copies(events []*event.Event) (copied []*event.Event) {
	for _, ev := range events {
		copied = append(copied, proto.CloneOf(ev))
	}
	return copied
}

// reuse does what a caller may do with the flows of a batch: it writes another event over them.
func reuse(events []*event.Event) {
	for _, ev := range events {
		f := ev.GetFlow()
		if f == nil {
			continue
		}
		for _, end := range []*event.Endpoint{f.GetSrc(), f.GetDst()} {
			if end != nil {
				clear(end.Address)
				end.Port, end.Pid, end.Comm = 1, 1, "another"
			}
		}
		for _, c := range []*event.Counters{f.GetSrcCounters(), f.GetDstCounters()} {
			if c != nil {
				proto.Reset(c)
			}
		}
		ev.Time, ev.Pod, ev.PodUid, ev.Namespace, f.LastTime, f.SocketCookie = 1, "another", "another", "another", 1, 1
	}
}

// take waits d and returns what came out until then.
func (w *world) take(d time.Duration) []*event.Event {
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out
	w.out = nil
	return out
}

// want waits d and fails unless just the events came out that the lines describe, in their order.
func (w *world) want(d time.Duration, lines ...string) {
	w.t.Helper()
	var got []string
	for _, ev := range w.take(d) {
		got = append(got, summarize(ev))
	}
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		w.t.Fatalf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// summarize formats an event as one line: phase src->dst, bytes that src sent, and by "+" which ends were observed.
func summarize(ev *event.Event) string {
	f := ev.GetFlow()
	if l := ev.GetLost(); l != nil {
		return fmt.Sprintf("lost %s %s %d", ev.GetNode(), l.GetStage().Word(), l.GetCount())
	}
	if s := ev.GetNodeStatus(); s != nil {
		return fmt.Sprintf("%s %s", ev.GetNode(), s.GetState().Word())
	}
	end := func(e *event.Endpoint, c *event.Counters) string {
		name := e.GetPod()
		if name == "" {
			a, _ := netip.AddrFromSlice(e.GetAddress())
			name = a.String()
		}
		if e.GetService() != "" {
			name = e.GetService() + "/" + name
		}
		if c != nil {
			name += "+"
		}
		return name
	}
	bytes := f.GetSrcCounters().GetBytesSent()
	if f.GetSrcCounters() == nil {
		bytes = f.GetDstCounters().GetBytesReceived()
	}
	return fmt.Sprintf("%s %s->%s %d", f.GetPhase().Word(), end(f.GetSrc(), f.GetSrcCounters()),
		end(f.GetDst(), f.GetDstCounters()), bytes)
}

// shape makes halves.
type shape struct {
	pod        string
	observed   event.Side
	src, dst   string // addr:port
	isn        [2]uint32
	noISN      bool
	proto      event.Protocol
	cookie     uint64
	phase      event.Phase
	sent, recv uint64 // by the observed end
	ago        time.Duration
	start      time.Time
	unsure     bool
}

const (
	fresh  = event.Phase_PHASE_NEW
	later  = event.Phase_PHASE_UPDATE
	closed = event.Phase_PHASE_CLOSED
	tcp    = event.Protocol_PROTOCOL_TCP
	udp    = event.Protocol_PROTOCOL_UDP
	bySrc  = event.Side_SIDE_SRC
	byDst  = event.Side_SIDE_DST
)

func (s shape) event() *event.Event {
	now := time.Now().Add(-s.ago)
	f := &event.Flow{
		Protocol: s.proto, Phase: s.phase, Observed: s.observed, Src: endpoint(s.src), Dst: endpoint(s.dst),
		SrcIsn: s.isn[0], DstIsn: s.isn[1], IsnValid: s.proto == tcp && !s.noISN, RoleKnown: !s.unsure,
		SocketCookie: s.cookie,
		LastTime:     uint64(now.UnixNano()),
	}
	if !s.start.IsZero() {
		f.StartTime = uint64(s.start.UnixNano())
	}
	n := &event.Counters{BytesSent: s.sent, BytesReceived: s.recv}
	if s.observed == byDst {
		f.DstCounters = n
	} else {
		f.SrcCounters = n
	}
	return &event.Event{
		Time: uint64(now.UnixNano()), Namespace: "demo", Pod: s.pod, PodUid: "uid-" + s.pod,
		Kind: &event.Event_Flow{Flow: f},
	}
}

func endpoint(s string) *event.Endpoint {
	a := netip.MustParseAddrPort(s)
	return &event.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())}
}

// names is a Namer over tables.
type names struct {
	pods     map[string]string   // by address; all are observed
	services map[string]string   // by address:port; all are observed
	backends map[string][]string // of address:port
	nodes    map[string]string   // by address
}

func (n names) Name(addr netip.Addr, port uint16, _ event.Protocol) Name {
	if s, ok := n.services[netip.AddrPortFrom(addr, port).String()]; ok {
		return Name{Service: s, ServiceNamespace: "demo", Observed: true}
	}
	if p, ok := n.pods[addr.String()]; ok {
		return Name{Namespace: "demo", Pod: p, Observed: true}
	}
	return Name{Node: n.nodes[addr.String()]}
}

func (n names) Backs(vip, backend netip.AddrPort, _ event.Protocol) bool {
	for _, b := range n.backends[vip.String()] {
		if b == backend.String() {
			return true
		}
	}
	return false
}

var cluster = names{
	pods:     map[string]string{"10.0.0.1": "client", "10.0.1.1": "server", "10.0.1.2": "server-2"},
	services: map[string]string{"10.96.0.1:80": "web", "10.96.0.1:53": "dns"},
	backends: map[string][]string{
		"10.96.0.1:80": {"10.0.1.1:8080", "10.0.1.2:8080"}, "10.96.0.1:53": {"10.0.1.1:5353", "10.0.1.2:5353"},
	},
	nodes: map[string]string{"172.18.0.2": "a", "172.18.0.3": "b"},
}
