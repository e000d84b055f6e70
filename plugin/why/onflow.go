package why

import "github.com/orb8-dev/kubectl-orb8/event"

// Rows of a pod's series. They hold amounts, not means.
const (
	rowNet = iota
	rowPeer
	rowRetransmits
	podRows
)

// flow is the state of a connection: what both ends had received at the last event.
type flow struct {
	at                          uint64
	toSrc, toDst, retransmitted uint64
	seen                        bool
}

// onFlow counts what the pods at both ends of a flow have received since the last event.
func (w *Watch) onFlow(ev *event.Event, f *event.Flow) {
	at := ev.GetTime()
	n := w.node(ev.GetNode(), at)
	if n == nil || f.GetId() == "" {
		return
	}
	n.clock.Last = max(n.clock.Last, at)
	s := w.flows[f.GetId()]
	if s == nil {
		if len(w.flows) == maxFlows {
			w.full = true
			return
		}
		s = &flow{}
		w.flows[f.GetId()] = s
	}
	src, dst := f.GetSrcCounters(), f.GetDstCounters()
	toSrc, toDst := src.GetBytesReceived(), dst.GetBytesReceived()
	if src == nil {
		toSrc = dst.GetBytesSent()
	}
	if dst == nil {
		toDst = src.GetBytesSent()
	}
	retransmitted := src.GetRetransmits() + dst.GetRetransmits()
	from := s.at
	if !s.seen && f.GetStartTime() != 0 && f.GetStartTime() < at {
		// The flow began in the window: all that it has received is new.
		from = f.GetStartTime()
		s.seen = n.clock.Start != 0 && from >= n.clock.Start
	}
	if s.seen && at > from {
		peers := sameWorkload(f.GetSrc(), f.GetDst())
		segments := retransmitted - min(s.retransmitted, retransmitted)
		w.addReceived(f.GetSrc(), from, at, toSrc-min(s.toSrc, toSrc), segments, peers)
		w.addReceived(f.GetDst(), from, at, toDst-min(s.toDst, toDst), segments, peers)
	}
	s.at, s.seen = at, true
	s.toSrc, s.toDst = max(s.toSrc, toSrc), max(s.toDst, toDst)
	s.retransmitted = max(s.retransmitted, retransmitted)
	if f.GetPhase() == event.Phase_PHASE_CLOSED {
		delete(w.flows, f.GetId())
	}
}

func sameWorkload(a, b *event.Endpoint) bool {
	return a.GetWorkload() != "" && a.GetWorkload() == b.GetWorkload() && a.GetNamespace() == b.GetNamespace()
}

// addReceived counts for the pod at one end, if it is known.
func (w *Watch) addReceived(e *event.Endpoint, from, to, bytes, segments uint64, fromPeer bool) {
	if e.GetPod() == "" {
		return
	}
	p := w.pods[podKey{e.GetNamespace(), e.GetPod()}]
	if p == nil {
		return
	}
	n := w.nodes[p.node]
	if n == nil || n.clock.Start == 0 {
		return
	}
	row := rowNet
	if fromPeer {
		row = rowPeer
	}
	n.clock.AddAmount(&p.series, row, from, to, float64(bytes))
	n.clock.AddAmount(&p.series, rowRetransmits, from, to, float64(segments))
}
