package collect

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

// batch holds the events that are built while the lock is held once. Its memory is reused.
type batch struct {
	events []*event.Event
	slots  []slot
	used   int
}

// slot is the memory of one flow event.
type slot struct {
	ev       event.Event
	kind     event.Event_Flow
	flow     event.Flow
	ends     [2]event.Endpoint
	counters [2]countersMemory
	icmp     [2]uint32
	// address and service are the memory of the ends' addresses, and of their Services'.
	address, service [2][16]byte
}

func newBatch(n int) *batch {
	return &batch{events: make([]*event.Event, 0, n), slots: make([]slot, n)}
}

func (b *batch) reset() {
	clear(b.events)
	b.events, b.used = b.events[:0], 0
}

// slot returns the next slot and adds its event to the events.
func (b *batch) slot() *slot {
	s := &b.slots[b.used]
	b.used++
	b.events = append(b.events, &s.ev)
	return s
}

// build writes the event of f's current state.
func (c *Collector) build(f *flow, phase event.Phase, s *slot) {
	observed := src
	if !f.ends[src].observed() {
		observed = dst
	}
	p := f.ends[observed].newest()
	r := &p.report
	ev, out := &s.ev, &s.flow

	ev.Time = f.item.time
	ev.Node = p.socket.source.node
	ev.Namespace, ev.Pod, ev.PodUid = r.pod.namespace, r.pod.pod, r.pod.podUID
	ev.Container, ev.Workload = r.pod.container, r.pod.workload
	s.kind.Flow = out
	ev.Kind = &s.kind

	out.Id, out.Protocol, out.Phase = f.id, f.proto, phase
	out.State, out.RoleKnown = r.state, f.roleKnown
	out.Observed = event.Side_SIDE_SRC
	if observed == dst {
		out.Observed = event.Side_SIDE_DST
	}
	out.IsnValid = f.indexed
	out.SrcIsn, out.DstIsn = f.ends[src].isn, f.ends[dst].isn
	out.SocketCookie = p.socket.cookie
	out.IcmpType, out.IcmpCode, s.icmp = nil, nil, r.icmp
	if r.hasICMP[0] {
		out.IcmpType = &s.icmp[0]
	}
	if r.hasICMP[1] {
		out.IcmpCode = &s.icmp[1]
	}
	out.StartTime, out.LastTime = 0, 0
	for i := range f.ends {
		if s := f.ends[i].folded; s != nil {
			if out.StartTime == 0 || i == observed && s.start != 0 && s.start < out.StartTime {
				out.StartTime = s.start
			}
			out.LastTime = max(out.LastTime, s.last)
		}
		for _, q := range f.ends[i].parts {
			if out.StartTime == 0 || i == observed && q.start != 0 && q.start < out.StartTime {
				out.StartTime = q.start
			}
			out.LastTime = max(out.LastTime, q.report.last)
		}
	}
	out.Src, out.Dst = &s.ends[src], &s.ends[dst]
	for i := range f.ends {
		c.buildEnd(f, i, s)
	}
	out.SrcCounters, out.DstCounters = s.sum(f, src), s.sum(f, dst)
}

// buildEnd writes one end from its observed half, else from the names of its address.
func (c *Collector) buildEnd(f *flow, i int, s *slot) {
	e, out := &f.ends[i], &s.ends[i]
	peer := f.ends[1-i].newest() // knows an address of this end
	if peer != nil && e.name.empty() && e.name != &observedName {
		e.name = c.share(c.nameAt(peer.remote, f.proto, peer.report.time)) // it may have become known
	}
	name := e.name
	out.Service, out.ServiceNamespace, out.Host = name.Service, name.ServiceNamespace, name.Host
	out.ServiceAddress, out.ServicePort, out.ServiceNote, out.Redacted = nil, 0, 0, false
	if name.Service != "" {
		for _, q := range f.ends[1-i].parts {
			if q.viaService {
				out.ServiceAddress, out.ServicePort = q.remote.bytes(s.service[i][:0]), uint32(q.remote.port)
			}
		}
	} else if name.Hint != nil && peer != nil {
		name.Hint.describe(out, peer.remote.bytes(s.service[i][:0]))
	}
	if p := e.newest(); p != nil {
		r := &p.report
		r.own.write(out, &s.address[i])
		out.Pid, out.Comm = r.pid, r.comm
		out.Namespace, out.Pod, out.PodUid = r.pod.namespace, r.pod.pod, r.pod.podUID
		out.Container, out.Workload, out.Node = r.pod.container, r.pod.workload, p.socket.source.node
		return
	}
	// If the peer knows several addresses of it, prefer one that is not a Service's.
	q := peer
	for _, other := range f.ends[1-i].parts {
		if !other.viaService {
			q = other
		}
	}
	q.report.far.write(out, &s.address[i])
	out.Pid, out.Comm, out.Container = 0, "", ""
	out.Namespace, out.Pod, out.PodUid, out.Workload = name.Namespace, name.Pod, name.PodUID, name.Workload
	out.Node = name.Node
}

// sum returns the sum of the counters of an end's parts, nil if the end is not observed or reports none.
func (s *slot) sum(f *flow, side int) *event.Counters {
	parts, done := f.ends[side].parts, f.ends[side].folded
	if len(parts) == 1 && parts[0].base == nil && done == nil {
		if own := parts[0].own(); own != nil {
			return s.counters[side].write(own)
		}
		return nil
	}
	if len(parts) == 0 {
		return nil
	}
	var sum counters
	if done != nil {
		sum.add(&done.counters)
	}
	for _, p := range parts {
		sum.add(p.base)
		sum.add(p.own())
	}
	return s.counters[side].write(&sum)
}
