package diff

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// stream makes the events of a recording.
type stream struct {
	events []*event.Event
	flows  int
	length time.Duration
	random *rand.Rand
}

// newStream returns a stream of a minute that begins and ends with its node's status.
func newStream(seed uint64) *stream { return newStreamOf(time.Minute, seed) }

func newStreamOf(length time.Duration, seed uint64) *stream {
	s := &stream{length: length, random: rand.New(rand.NewPCG(seed, 0))}
	s.status(0, event.NodeState_NODE_STATE_STREAMING)
	s.status(length, event.NodeState_NODE_STATE_STOPPED)
	return s
}

func (s *stream) status(at time.Duration, state event.NodeState) {
	s.add(at, &event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{State: state}}})
}

func (s *stream) add(at time.Duration, ev *event.Event) {
	ev.Time, ev.Node = uint64(began.Add(at).UnixNano()), "n1"
	s.events = append(s.events, ev)
}

// of names an event with the workload, in its first pod.
func of(ev *event.Event) *event.Event {
	ev.Namespace, ev.Pod, ev.Workload, ev.Container = "shop", "web-1", "deploy/web", "app"
	return ev
}

func web() *event.Endpoint {
	return &event.Endpoint{Namespace: "shop", Pod: "web-1", Workload: "deploy/web", Container: "app", Port: 40000,
		Address: []byte{10, 0, 0, 1}}
}

func service(name string, port uint32) *event.Endpoint {
	return &event.Endpoint{Namespace: "shop", Pod: name + "-0", Workload: "deploy/" + name, Service: name,
		ServiceNamespace: "shop", ServicePort: port, Port: port, Address: []byte{10, 0, 0, 2}}
}

// every calls f n times, evenly over the stream.
func (s *stream) every(n int, f func(at time.Duration)) *stream {
	for i := range n {
		f(s.length * time.Duration(2*i+1) / time.Duration(2*n))
	}
	return s
}

// flow adds a connection that sends some bytes, receives as many, and ends after 100 ms.
func (s *stream) flow(at time.Duration, src, dst *event.Endpoint, bytes uint64) {
	s.flows++
	f := &event.Flow{Id: fmt.Sprint("f", s.flows), Protocol: event.Protocol_PROTOCOL_TCP,
		Phase: event.Phase_PHASE_CLOSED, Observed: event.Side_SIDE_SRC, Src: src, Dst: dst,
		StartTime:   uint64(began.Add(at).UnixNano()),
		SrcCounters: &event.Counters{BytesSent: bytes, BytesReceived: bytes}}
	s.add(at+100*time.Millisecond, of(&event.Event{Kind: &event.Event_Flow{Flow: f}}))
}

// calls adds n connections of the workload to a Service, with around 1 kB each.
func (s *stream) calls(n int, name string) *stream {
	return s.every(n, func(at time.Duration) { s.flow(at, web(), service(name, 80), 1000+s.random.Uint64N(50)) })
}

func (s *stream) outcome(at time.Duration, dst *event.Endpoint, o event.TCPOutcome) {
	t := &event.Tcp{Outcome: o, Src: web(), Dst: dst, Observed: event.Side_SIDE_SRC}
	s.add(at, of(&event.Event{Kind: &event.Event_Tcp{Tcp: t}}))
}

func (s *stream) lookup(at time.Duration, name, rcode string, micros uint64) {
	d := &event.Dns{Src: web(), Dst: service("kube-dns", 53), Name: name, Rcode: rcode,
		Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, LatencyMicros: &micros}
	s.add(at, of(&event.Event{Kind: &event.Event_Dns{Dns: d}}))
}

func (s *stream) exec(at time.Duration, path string) {
	e := &event.Exec{Phase: event.ExecPhase_EXEC_PHASE_EXEC, Filename: []byte(path)}
	s.add(at, of(&event.Event{Kind: &event.Event_Exec{Exec: e}}))
}

// profile returns the profile of the stream's events in the order of their times.
func (s *stream) profile(t testing.TB) *Profile {
	t.Helper()
	return profileOf(s.events)
}

func profileOf(events []*event.Event) *Profile {
	p := NewProfile(Kinds, Period{})
	for _, ev := range sorted(events) {
		p.Add(ev)
	}
	return p
}

func sorted(events []*event.Event) []*event.Event {
	return slices.SortedStableFunc(slices.Values(events), func(a, b *event.Event) int {
		return cmp.Compare(a.GetTime(), b.GetTime())
	})
}
