// Package policy turns flows and DNS lookups into network policies: what workloads were seen to do becomes what they
// may do. It knows events and the objects of Kubernetes, not where they are from.
package policy

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// maxRows bounds the pairs of a workload and a peer's port, maxOpen the flows that are followed until they end.
	// With the rows of 1 M peers this is some 100 MB.
	maxRows, maxOpen = 1 << 16, 1 << 18
	// maxNames bounds the addresses with names from DNS, and namesEach the names of each.
	maxNames, namesEach = 1 << 16, 4
	// maxAddresses bounds the addresses of a row whose peer has another name.
	maxAddresses = 16
)

// Ref names a workload: its controller ("deploy/web"), or a pod without one ("pod/web-0"). svc/NAME is a Service.
type Ref struct{ Namespace, Name string }

func (r Ref) String() string { return r.Name + " in " + r.Namespace }

// peerKind is what is known of the other end.
type peerKind uint8

const (
	peerWorkload peerKind = iota
	peerService           // its backend is not known
	peerOwnNode           // the node that the pod runs on
	peerNode
	peerAddress
	peerWithheld // the user may not see it
)

// peer is the other end of connections.
type peer struct {
	kind peerKind
	ref  Ref
	// name is that of a node, or with peerService the port of the Service.
	name string
	addr netip.Addr
}

// rowKey is what connections have in common.
type rowKey struct {
	target   Ref
	ingress  bool
	peer     peer
	protocol event.Protocol
	port     uint16
}

// row is the traffic between a workload and a port of a peer.
type row struct {
	rowKey
	// attempts are connections, or flows of datagrams; established are those that became one, or were answered.
	attempts, established int
	// outcomes are ends of attempts that came to nothing, by their words.
	outcomes map[string]int
	last     uint64 // ns since the Unix epoch
	process  string
	service  string // through which the peer was reached, "web:8080"
	// addresses are those of the peer; more is set where there were others.
	addresses []netip.Addr
	more      bool
	// both: the other end was observed, too.
	both bool
	// guessed: which end opened them is not known.
	guessed bool
}

// flowState is what counts of a flow that goes on.
type flowState struct {
	rows        [2]*row
	established bool
}

// Options say which ends are those that policies are for.
type Options struct {
	// Selects reports whether a pod that was observed is a target; nil: all are.
	Selects func(namespace, pod, workload string) bool
}

// Seen collects the traffic that was observed. Its methods are for one goroutine.
type Seen struct {
	options Options
	seed    maphash.Seed
	rows    map[rowKey]*row
	open    map[uint64]*flowState
	// targets are the workloads that were observed, with the pods of each.
	targets map[Ref]map[string]bool
	names   map[netip.Addr][]string
	// cut counts flows that there was no room for, cutNames addresses.
	cut, cutNames int
	flows         int
}

// New returns one that has seen nothing.
func New(o Options) *Seen {
	return &Seen{options: o, seed: maphash.MakeSeed(), rows: map[rowKey]*row{}, open: map[uint64]*flowState{},
		targets: map[Ref]map[string]bool{}, names: map[netip.Addr][]string{}}
}

// Add takes an event, which it does not keep.
func (s *Seen) Add(ev *event.Event) {
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		s.addFlow(ev, k.Flow)
	case *event.Event_Tcp:
		s.addTCP(ev, k.Tcp)
	case *event.Event_Dns:
		s.addDNS(k.Dns)
	}
}

// refOf is the workload of an end that is a pod.
func refOf(e *event.Endpoint) Ref {
	if w := e.GetWorkload(); w != "" {
		return Ref{e.GetNamespace(), w}
	}
	return Ref{e.GetNamespace(), "pod/" + e.GetPod()}
}

// target returns the workload of an end that policies are for.
func (s *Seen) target(e *event.Endpoint) (Ref, bool) {
	if e.GetPod() == "" || s.options.Selects != nil &&
		!s.options.Selects(e.GetNamespace(), e.GetPod(), e.GetWorkload()) {
		return Ref{}, false
	}
	ref := refOf(e)
	pods := s.targets[ref]
	if pods == nil {
		if len(s.targets) >= maxRows {
			return Ref{}, false
		}
		pods = map[string]bool{}
		s.targets[ref] = pods
	}
	if len(pods) < maxAddresses {
		pods[e.GetPod()] = true
	}
	return ref, true
}

func (s *Seen) addFlow(ev *event.Event, f *event.Flow) {
	src, dst := f.GetSrc(), f.GetDst()
	observed := [2]bool{f.GetSrcCounters() != nil || f.GetObserved() == event.Side_SIDE_SRC,
		f.GetDstCounters() != nil || f.GetObserved() == event.Side_SIDE_DST}
	guessed := !f.GetRoleKnown()
	if guessed && isEphemeral(dst.GetPort()) && src.GetPort() != 0 && !isEphemeral(src.GetPort()) {
		src, dst, observed = dst, src, [2]bool{observed[1], observed[0]}
		guessed = false
	}
	if isLocal(src, dst) {
		return
	}
	s.flows++
	id := maphash.String(s.seed, f.GetId())
	state := s.open[id]
	if state == nil {
		state = &flowState{}
		if f.GetPhase() != event.Phase_PHASE_CLOSED {
			if len(s.open) < maxOpen {
				s.open[id] = state
			} else if f.GetPhase() == event.Phase_PHASE_UPDATE {
				return // it was counted when it was new
			}
		}
	} else if f.GetPhase() == event.Phase_PHASE_CLOSED {
		delete(s.open, id)
	}
	established := state.established || isEstablished(f)
	for side, ingress := range [2]bool{false, true} {
		own, other := src, dst
		if ingress {
			own, other = dst, src
		}
		if !observed[side] {
			continue
		}
		ref, ok := s.target(own)
		if !ok {
			continue
		}
		key := rowKey{target: ref, ingress: ingress, protocol: f.GetProtocol(), port: uint16(dst.GetPort()),
			peer: peerOf(other, nodeOf(ev, own, f.GetObserved(), ingress))}
		if key.peer.kind == peerService {
			key.port = uint16(other.GetServicePort())
		}
		if f.GetProtocol() != event.Protocol_PROTOCOL_TCP && f.GetProtocol() != event.Protocol_PROTOCOL_UDP {
			key.port = 0
		}
		r := s.row(key)
		if r == nil {
			s.cut++
			continue
		}
		s.count(state, side, r, established)
		r.note(own, other, max(f.GetLastTime(), ev.GetTime()))
		r.both = r.both || observed[1-side]
		r.guessed = r.guessed || guessed
	}
	state.established = established
}

// count adds a flow to its row, and takes it from the row that it was in before more was known of its ends.
func (s *Seen) count(state *flowState, side int, r *row, established bool) {
	before := state.rows[side]
	if before != r {
		if before != nil {
			before.attempts--
			if state.established {
				before.established--
			}
		}
		state.rows[side] = r
		r.attempts++
		if established {
			r.established++
		}
		return
	}
	if established && !state.established {
		r.established++
	}
}

// row returns the row of a key; nil: there is no room.
func (s *Seen) row(key rowKey) *row {
	r := s.rows[key]
	if r == nil && len(s.rows) < maxRows {
		r = &row{rowKey: key}
		s.rows[key] = r
	}
	return r
}

func (r *row) note(own, other *event.Endpoint, at uint64) {
	r.last = max(r.last, at)
	if r.process == "" {
		r.process = own.GetComm()
	}
	if r.service == "" && !r.ingress && other.GetService() != "" && r.peer.kind == peerWorkload {
		r.service = other.GetService()
	}
	if r.peer.kind != peerWorkload && r.peer.kind != peerService {
		return // its address is in the key
	}
	a, ok := netip.AddrFromSlice(other.GetAddress())
	switch {
	case !ok || slices.Contains(r.addresses, a.Unmap()):
	case len(r.addresses) < maxAddresses:
		r.addresses = append(r.addresses, a.Unmap())
	default:
		r.more = true
	}
}

// nodeOf is the node that a target runs on.
func nodeOf(ev *event.Event, own *event.Endpoint, observed event.Side, ingress bool) string {
	if own.GetNode() != "" {
		return own.GetNode()
	}
	if (observed == event.Side_SIDE_DST) == ingress {
		return ev.GetNode()
	}
	return ""
}

// peerOf is who an end is. node is that of the target.
func peerOf(e *event.Endpoint, node string) peer {
	switch {
	case e.GetRedacted():
		return peer{kind: peerWithheld}
	case e.GetPod() != "":
		return peer{kind: peerWorkload, ref: refOf(e)}
	case e.GetService() != "":
		return peer{kind: peerService, ref: Ref{e.GetServiceNamespace(), "svc/" + e.GetService()}}
	}
	addr, _ := netip.AddrFromSlice(e.GetAddress())
	addr = addr.Unmap()
	switch {
	case e.GetNode() != "" && e.GetNode() == node:
		return peer{kind: peerOwnNode, name: node, addr: addr}
	case e.GetNode() != "":
		return peer{kind: peerNode, name: e.GetNode(), addr: addr}
	}
	return peer{kind: peerAddress, addr: addr}
}

// isEphemeral reports whether clients get such ports, by Linux's default.
func isEphemeral(port uint32) bool { return port >= 32768 && port <= 60999 }

// isLocal reports whether a flow does not leave its pod: policies do not concern it.
func isLocal(src, dst *event.Endpoint) bool {
	if src.GetPod() != "" && src.GetPod() == dst.GetPod() && src.GetNamespace() == dst.GetNamespace() {
		return true
	}
	a, ok := netip.AddrFromSlice(dst.GetAddress())
	return ok && (a.IsLoopback() || a.IsUnspecified())
}

// isEstablished reports whether a connection was made, or a datagram arrived or was answered.
func isEstablished(f *event.Flow) bool {
	src, dst := f.GetSrcCounters(), f.GetDstCounters()
	if f.GetProtocol() != event.Protocol_PROTOCOL_TCP {
		return src.GetPacketsReceived() > 0 || dst.GetPacketsReceived() > 0
	}
	switch f.GetState() {
	case event.TCPState_TCP_STATE_SYN_SENT, event.TCPState_TCP_STATE_SYN_RECV, event.TCPState_TCP_STATE_LISTEN:
		return false
	case event.TCPState_TCP_STATE_UNKNOWN, event.TCPState_TCP_STATE_CLOSE:
		return f.GetIsnValid() || src.GetBytesReceived()+src.GetBytesSent() > 0 ||
			dst.GetBytesReceived()+dst.GetBytesSent() > 0
	}
	return true
}

// addTCP takes why an attempt came to nothing. The connections themselves are flows.
func (s *Seen) addTCP(ev *event.Event, t *event.Tcp) {
	if !t.GetOutcome().NeverMade() || t.GetObserved() != event.Side_SIDE_SRC || isLocal(t.GetSrc(), t.GetDst()) {
		return
	}
	// A timeout may also end a connection that was made.
	if t.GetState() != event.TCPState_TCP_STATE_SYN_SENT && t.GetState() != event.TCPState_TCP_STATE_UNKNOWN {
		return
	}
	ref, ok := s.target(t.GetSrc())
	if !ok {
		return
	}
	key := rowKey{target: ref, protocol: event.Protocol_PROTOCOL_TCP, port: uint16(t.GetDst().GetPort()),
		peer: peerOf(t.GetDst(), nodeOf(ev, t.GetSrc(), event.Side_SIDE_SRC, false))}
	if key.peer.kind == peerService {
		key.port = uint16(t.GetDst().GetServicePort())
	}
	r := s.row(key)
	if r == nil {
		return
	}
	if r.outcomes == nil {
		r.outcomes = map[string]int{}
	}
	r.outcomes[t.GetOutcome().Word()]++
	r.note(t.GetSrc(), t.GetDst(), ev.GetTime())
}

// addDNS takes the names of addresses.
func (s *Seen) addDNS(d *event.Dns) {
	if d.GetObserved() != event.Side_SIDE_SRC || d.GetAnswers() == "" {
		return
	}
	name := strings.TrimSuffix(d.GetName(), ".")
	for answer := range strings.SplitSeq(d.GetAnswers(), ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(answer))
		if err != nil {
			continue // the target of a CNAME
		}
		names := s.names[addr.Unmap()]
		switch {
		case slices.Contains(names, name):
		case len(names) >= namesEach, len(names) == 0 && len(s.names) >= maxNames:
			s.cutNames++
		default:
			s.names[addr.Unmap()] = append(names, strings.Clone(name))
		}
	}
}

// lastTime is when something was seen last.
func (r *row) lastTime() time.Time { return time.Unix(0, int64(min(r.last, 1<<62))).UTC() }
