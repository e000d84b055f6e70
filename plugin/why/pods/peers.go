package pods

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// peerKey names the other end of connections: a Service or, without one, what has the address.
type peerKey struct {
	name      string // as people read it
	namespace string // of a Service, else empty
	service   string
	port      uint32
}

// peer is what became of the connections that a pod opened to one other end, in the window.
type peer struct {
	attempts, refused, unanswered, notSent, wrongPort, resets uint64
	// rejected are those of refused that an ICMP message refused: a firewall, or kube-proxy for a Service without
	// endpoints.
	rejected uint64
	// trying are sockets whose connection has not been answered yet, and whether they count in wrongPort: what is known
	// of the other end may change meanwhile.
	trying map[uint64]bool
	// segments and retransmits are those that the pod has sent.
	segments, retransmits uint64
	policyDrops           uint64
	// responses are those that the pod waited for; nil without any.
	responses *responses
	// who is the pod behind it, if that is known.
	who Target
}

// Target is what can be judged in its turn.
type Target struct {
	Namespace string
	// Name is an argument of why: a pod, or "deploy/cart".
	Name string
}

// targetOf is the workload or the pod at an end; empty for what is no pod.
func targetOf(e *event.Endpoint) Target {
	switch {
	case e.GetPod() == "":
		return Target{}
	case e.GetWorkload() != "":
		return Target{e.GetNamespace(), e.GetWorkload()}
	}
	return Target{e.GetNamespace(), e.GetPod()}
}

// maxTrying is how many unanswered attempts are distinguished by their sockets.
const maxTrying = 64

// failures are attempts that came to nothing.
func (x *peer) failures() uint64 { return x.refused + x.unanswered + x.wrongPort + x.notSent }

// keyOf names an end.
func keyOf(e *event.Endpoint) peerKey {
	if e.GetService() != "" {
		port := e.GetServicePort()
		if port == 0 {
			port = e.GetPort()
		}
		return peerKey{
			"service " + e.GetServiceNamespace() + "/" + e.GetService() + ":" + portText(port),
			e.GetServiceNamespace(), e.GetService(), port,
		}
	}
	name := addressOf(e)
	switch {
	case e.GetWorkload() != "":
		name = e.GetNamespace() + "/" + e.GetWorkload()
	case e.GetPod() != "":
		name = e.GetNamespace() + "/" + e.GetPod()
	case e.GetHost() != "":
		name = e.GetHost()
	case e.GetNode() != "":
		name = "node " + e.GetNode()
	case strings.Contains(name, ":"):
		name = "[" + name + "]"
	}
	return peerKey{name: name + ":" + portText(e.GetPort()), port: e.GetPort()}
}

func portText(port uint32) string { return strconv.FormatUint(uint64(port), 10) }

func addressOf(e *event.Endpoint) string {
	if a, ok := netip.AddrFromSlice(e.GetAddress()); ok {
		return a.String()
	}
	return "unknown address"
}

// peer finds or makes the peer that the pod connects to.
func (p *pod) peer(e *event.Endpoint) *peer {
	x := p.peerOf(keyOf(e))
	if x != nil && x.who == (Target{}) {
		x.who = targetOf(e)
	}
	return x
}

// client finds or makes the peer that connects to the pod. Its port says nothing.
func (p *pod) client(e *event.Endpoint) *peer {
	k := keyOf(e)
	k.name = strings.TrimSuffix(k.name, ":"+portText(k.port))
	k.port, k.service, k.namespace = 0, "", ""
	return p.peerOf(k)
}

func (p *pod) peerOf(k peerKey) *peer {
	x := p.peers[k]
	if x == nil {
		if len(p.peers) == maxPeers || !room(&p.kept.peers, maxAllPeers) {
			p.full = true
			return nil
		}
		x = &peer{}
		p.peers[k] = x
	}
	return x
}

// onTCP takes what became of a connection.
func (w *Watch) onTCP(p *pod, t *event.Tcp) {
	if t.GetObserved() == event.Side_SIDE_DST {
		if t.GetOutcome() == event.TCPOutcome_TCP_OUTCOME_ACCEPTED {
			p.accepted++
		}
		return
	}
	if t.GetObserved() != event.Side_SIDE_SRC || !t.GetRoleKnown() {
		return
	}
	x := p.peer(t.GetDst())
	if x == nil {
		return
	}
	switch t.GetOutcome() {
	case event.TCPOutcome_TCP_OUTCOME_CONNECTED:
		x.answered(t)
	case event.TCPOutcome_TCP_OUTCOME_REFUSED:
		x.answered(t)
		if noSuchPort(t) {
			x.wrongPort++
		} else {
			x.refused++
			if t.GetCause() == event.TCPCause_TCP_CAUSE_ICMP {
				x.rejected++
			}
		}
	case event.TCPOutcome_TCP_OUTCOME_TIMEOUT, event.TCPOutcome_TCP_OUTCOME_ABANDONED,
		event.TCPOutcome_TCP_OUTCOME_UNREACHABLE:
		x.notAnswered(t)
	case event.TCPOutcome_TCP_OUTCOME_FAILED:
		// The route was found before: this end has no port left, or no memory.
		x.attempts++
		x.notSent++
	case event.TCPOutcome_TCP_OUTCOME_RESET:
		if t.GetResetBy() == event.TCPEnd_TCP_END_PEER {
			x.resets++
		}
	case event.TCPOutcome_TCP_OUTCOME_RETRANSMITS:
		// The second SYN that nobody has answered was sent three seconds after the first.
		if t.GetState() == event.TCPState_TCP_STATE_SYN_SENT && t.GetSynRetransmits() > 1 {
			x.notAnswered(t)
		}
	}
}

func noSuchPort(t *event.Tcp) bool {
	return t.GetDst().GetServiceNote() == event.ServiceNote_SERVICE_NOTE_NO_SUCH_PORT
}

// answered counts an attempt that was answered, be it by a refusal, and takes back that nobody answered it.
func (x *peer) answered(t *event.Tcp) {
	wrongPort, counted := x.trying[t.GetSocketCookie()]
	if !counted {
		x.attempts++
		return
	}
	delete(x.trying, t.GetSocketCookie())
	if wrongPort {
		x.wrongPort--
	} else {
		x.unanswered--
	}
}

// notAnswered counts an attempt that nobody has answered, once for each socket.
func (x *peer) notAnswered(t *event.Tcp) {
	id := t.GetSocketCookie()
	if _, counted := x.trying[id]; counted {
		return
	}
	if len(x.trying) < maxTrying {
		if x.trying == nil {
			x.trying = map[uint64]bool{}
		}
		x.trying[id] = noSuchPort(t)
	}
	x.attempts++
	if noSuchPort(t) {
		x.wrongPort++
	} else {
		x.unanswered++
	}
}

// onDrop takes dropped packets. The event's numbers are cumulative.
func (w *Watch) onDrop(p *pod, d *event.Drop) {
	last, known := w.drops[d.GetId()]
	if !known && len(w.drops) == maxDrops {
		w.full = true
		return
	}
	w.drops[d.GetId()] = d.GetPackets()
	grown := d.GetPackets() - min(last, d.GetPackets())
	if d.GetProtocol() != event.Protocol_PROTOCOL_TCP {
		return
	}
	if d.GetObserved() == event.Side_SIDE_DST && d.NotAccepted() {
		p.notAccepted += grown
		return
	}
	if !d.ByPolicy() {
		return
	}
	var x *peer
	if d.GetObserved() == event.Side_SIDE_DST {
		x = p.client(d.GetSrc())
	} else {
		x = p.peer(d.GetDst())
	}
	if x != nil {
		x.policyDrops += grown
	}
}

// flow is what the pods at both ends had sent at the last event.
type flow struct {
	src, dst sent
	// responses are those that the end that opened had waited for.
	responses []uint64
	waited    uint64 // µs
}

type sent struct{ segments, retransmits uint64 }

// onFlow counts what the pods at both ends of a TCP connection have sent since the last event.
func (w *Watch) onFlow(ev *event.Event, f *event.Flow) {
	n := w.node(ev.GetNode(), ev.GetTime())
	if n == nil || f.GetId() == "" || f.GetProtocol() != event.Protocol_PROTOCOL_TCP {
		return
	}
	n.clock.Last = max(n.clock.Last, ev.GetTime())
	s := w.flows[f.GetId()]
	began := f.GetStartTime() != 0 && n.clock.Start != 0 && f.GetStartTime() >= n.clock.Start
	seen := s != nil || began
	if s == nil {
		if len(w.flows) == maxFlows {
			w.full = true
			return
		}
		s = &flow{}
		w.flows[f.GetId()] = s
	}
	if p := w.pods[podKey{f.GetSrc().GetNamespace(), f.GetSrc().GetPod()}]; p != nil {
		p.addSent(func() *peer { return p.peer(f.GetDst()) }, &s.src, f.GetSrcCounters(), seen)
		w.addResponses(p, f, s)
	}
	if p := w.pods[podKey{f.GetDst().GetNamespace(), f.GetDst().GetPod()}]; p != nil {
		p.addSent(func() *peer { return p.client(f.GetSrc()) }, &s.dst, f.GetDstCounters(), seen)
	}
	if f.GetPhase() == event.Phase_PHASE_CLOSED {
		delete(w.flows, f.GetId())
	}
}

// addSent counts what the pod has sent to a peer. seen: what it had sent before is known.
func (p *pod) addSent(to func() *peer, last *sent, c *event.Counters, seen bool) {
	if c == nil || c.Retransmits == nil || c.GetPacketsReceived() == 0 {
		return // an attempt that nobody answers loses nothing
	}
	now := sent{c.GetPacketsSent(), c.GetRetransmits()}
	if seen && now.segments > last.segments && now.retransmits >= last.retransmits {
		if x := to(); x != nil {
			x.segments += now.segments - last.segments
			x.retransmits += now.retransmits - last.retransmits
		}
	}
	*last = now
}
