package main

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

const (
	// tick is the time between two moments at which agents send, as the tracer gathers events.
	tick = 50 * time.Millisecond
	// second is the interval at which agents report open flows, in ticks.
	second = int64(time.Second / tick)
	// life is how many seconds a flow lasts: it has so many events, one a second.
	life = 20
	// origin is the tick at which the plan starts. There is a past before it, for queries.
	origin = int64(1_000_000)
	// namespaces of the pods, of which the viewer may not see the last ones.
	namespaces, hidden = 20, 2
	// backends are the endpoints of each Service.
	backends = 10
)

// plan says which events happen when. Agents, and who checks what the server sends, derive all of it from the numbers
// of nodes, flows and ticks.
type plan struct {
	agents int
	// flows is the number of ends of open flows on each node, even.
	flows int
	pods  int // on each node
	start time.Time
}

// leastAgents lets the nodes of a flow report it within a tenth of a second.
const leastAgents = 20

func (p *plan) check() error {
	switch {
	case p.agents < leastAgents || p.agents > 20_000:
		return fmt.Errorf("--agents %d: want %d to 20000", p.agents, leastAgents)
	case p.flows < 2 || p.flows > 10_000 || p.flows%2 != 0:
		return fmt.Errorf("--flows %d: want an even number, 2 to 10000", p.flows)
	case p.pods < 1 || p.pods > 250:
		return fmt.Errorf("--pods %d: want 1 to 250", p.pods)
	}
	return nil
}

// timeOf is the time of a tick, ns since the Unix epoch.
func (p *plan) timeOf(at int64) uint64 {
	return uint64(p.start.Add(time.Duration(at-origin) * tick).UnixNano())
}

// tickAt is the last tick that is not after a time.
func (p *plan) tickAt(t time.Time) int64 {
	since := t.Sub(p.start)
	at := origin + int64(since/tick)
	if since < 0 && since%tick != 0 {
		at--
	}
	return at
}

func nodeName(node int) string { return fmt.Sprintf("node-%05d", node) }

// agentAddress is where the agent of a node listens, nodeAddress the node's own one.
func agentAddress(node int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, loopback, byte(node / 250), byte(1 + node%250)})
}

// loopback is the part of the loopback network of this process: agents have one port, and two fleets may run at a time.
var loopback = byte(8 + os.Getpid()%200)

func nodeAddress(node int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, byte(node / 250), byte(1 + node%250)})
}

func agentListen(node int) string {
	return netip.AddrPortFrom(agentAddress(node), orbit.AgentPort).String()
}

// pod is a pod of a node by its number there.
type pod struct{ node, number int }

func (d pod) namespaceIndex() int {
	if s := d.service(); s >= 0 {
		return s % namespaces
	}
	return (d.node*7 + d.number) % namespaces
}

func (d pod) namespace() string { return namespaceName(d.namespaceIndex()) }
func (d pod) hidden() bool      { return isHidden(d.namespaceIndex()) }
func (d pod) name() string      { return fmt.Sprintf("%s-%s-%05d", d.app(), podHash, d.node) }
func (d pod) app() string       { return fmt.Sprintf("app-%02d", d.number) }
func (d pod) workload() string  { return "deploy/" + d.app() }
func (d pod) uid() string {
	return fmt.Sprintf("6f1c%04x-%04x-4000-8000-000000000000", d.node, d.number)
}

// podHash is the hash of the pods' ReplicaSets.
const podHash = "7c9f6d5b4"

func (d pod) address() netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(d.node >> 8), byte(d.node), byte(d.number + 1)})
}

func namespaceName(i int) string { return fmt.Sprintf("team-%02d", i) }
func isHidden(i int) bool        { return i >= namespaces-hidden }

// service is the number of the Service that has a pod as an endpoint; -1: none.
func (d pod) service() int {
	if d.number != 0 {
		return -1
	}
	return d.node / backends
}

func serviceAddress(service int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 20, byte(service >> 8), byte(service)})
}

const (
	servicePort = 80
	appPort     = 8080
)

// flow is one of the connections that are open at any time. When it ends, another one with the same pods begins.
type flow struct {
	number   int
	src, dst pod
	// phases are the ticks of a second in which the nodes of src and dst report their open flows.
	phases [2]int64
}

// flowCount is the number of flows that are open at a time.
func (p *plan) flowCount() int { return p.agents * p.flows / 2 }

// flow returns a flow by its number. Its ends are near each other in the order of the nodes, so that both report it
// within 100 ms.
func (p *plan) flow(number int) flow {
	node, i := number/(p.flows/2), number%(p.flows/2)
	far := (node + 1 + i%max(p.agents/10, 1)) % p.agents
	server := (7*i + 1) % p.pods
	if i%10 == 3 {
		server = 0 // which a Service has as an endpoint
	}
	return flow{number: number, src: pod{node, i % p.pods}, dst: pod{far, server},
		phases: [2]int64{p.phase(node), p.phase(far)}}
}

// phase is the tick of a second in which a node reports its open flows.
func (p *plan) phase(node int) int64 { return int64(node) * second / int64(p.agents) }

// state is what an end of a flow reports at a tick.
type state struct {
	// connection is the number of the connection among those of its flow, age its age in seconds.
	connection, age int64
}

func (s state) isFirst() bool { return s.age == 0 }
func (s state) isLast() bool  { return s.age == life-1 }

// at returns what an end of the flow reports at a tick. Open connections are reported once a second, at the phase of
// the node; both ends report the beginning and the end at the same time, half a second from that.
func (f *flow) at(side int, tick int64) (s state, ok bool) {
	since := tick - f.phases[0]
	age := since/second + int64(f.number)
	s = state{connection: age / life, age: age % life}
	switch {
	case since%second == second/2:
		return s, s.isFirst() || s.isLast()
	case (tick-f.phases[side])%second == 0:
		return s, !s.isFirst() && !s.isLast()
	}
	return s, false
}

// port is the client's port of a connection, and isn the initial sequence number of an end of it.
func (f *flow) port(connection int64) uint16 {
	return uint16(32768 + (int64(f.number)*31+connection)%28000)
}

// isn returns numbers of which no two connections have the same pair. It names the flow and the connection.
func (f *flow) isn(side int, connection int64) uint32 {
	if side == 0 {
		return uint32(f.number) + 1
	}
	return serverISN | uint32(connection)
}

// serverISN is set in the sequence numbers of servers only.
const serverISN = 1 << 31

// cookie identifies the socket of an end on its node. All have encodings of one length.
func (f *flow) cookie(side int, connection int64) uint64 {
	return 1<<34 | uint64(f.number%(1<<24))<<9 | uint64(connection%(1<<8))<<1 | uint64(side)
}
