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
	counters [2]event.Counters
	service  [2][16]byte
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
	half := p.ev.GetFlow()
	ev, out := &s.ev, &s.flow

	ev.Time = f.item.time
	ev.Node = p.ev.GetNode()
	ev.Namespace, ev.Pod, ev.PodUid = p.ev.GetNamespace(), p.ev.GetPod(), p.ev.GetPodUid()
	ev.Container, ev.Workload = p.ev.GetContainer(), p.ev.GetWorkload()
	s.kind.Flow = out
	ev.Kind = &s.kind

	out.Id, out.Protocol, out.Phase = f.id, f.proto, phase
	out.State, out.RoleKnown = half.GetState(), f.roleKnown
	out.Observed = event.Side_SIDE_SRC
	if observed == dst {
		out.Observed = event.Side_SIDE_DST
	}
	out.IsnValid = f.indexed
	out.SrcIsn, out.DstIsn = f.ends[src].isn, f.ends[dst].isn
	out.SocketCookie = p.key.cookie
	out.IcmpType, out.IcmpCode = half.IcmpType, half.IcmpCode
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
			out.LastTime = max(out.LastTime, q.ev.GetFlow().GetLastTime())
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
	if peer != nil && e.name.empty() {
		e.name = c.nameAt(peer.remote, f.proto, peer.ev.GetTime()) // its name may have become known
	}
	name := &e.name
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
		half := p.ev.GetFlow()
		own := half.GetSrc()
		if half.GetObserved() == event.Side_SIDE_DST {
			own = half.GetDst()
		}
		out.Address, out.Port = own.GetAddress(), own.GetPort()
		out.Pid, out.Comm = own.GetPid(), own.GetComm()
		out.Namespace, out.Pod, out.PodUid = p.ev.GetNamespace(), p.ev.GetPod(), p.ev.GetPodUid()
		out.Container, out.Workload, out.Node = p.ev.GetContainer(), p.ev.GetWorkload(), p.ev.GetNode()
		return
	}
	// If the peer knows several addresses of it, prefer one that is not a Service's.
	q := peer
	for _, other := range f.ends[1-i].parts {
		if !other.viaService {
			q = other
		}
	}
	far := q.ev.GetFlow().GetDst()
	if q.ev.GetFlow().GetObserved() == event.Side_SIDE_DST {
		far = q.ev.GetFlow().GetSrc()
	}
	out.Address, out.Port = far.GetAddress(), far.GetPort()
	out.Pid, out.Comm, out.Container = 0, "", ""
	out.Namespace, out.Pod, out.PodUid, out.Workload = name.Namespace, name.Pod, name.PodUID, name.Workload
	out.Node = name.Node
}

// sum returns the sum of the counters of an end's parts, nil if the end is not observed.
func (s *slot) sum(f *flow, side int) *event.Counters {
	parts := f.ends[side].parts
	switch {
	case len(parts) == 0:
		return nil
	case len(parts) == 1 && parts[0].base == nil && f.ends[side].folded == nil:
		return parts[0].own()
	}
	sum := &s.counters[side]
	sum.BytesSent, sum.BytesReceived, sum.PacketsSent, sum.PacketsReceived = 0, 0, 0, 0
	sum.Retransmits, sum.SrttMicros, sum.Dropped = nil, nil, nil
	if done := f.ends[side].folded; done != nil {
		addCounters(sum, &done.counters)
	}
	for _, p := range parts {
		addCounters(sum, p.base)
		addCounters(sum, p.own())
	}
	return sum
}

// addCounters adds b to a.
func addCounters(a, b *event.Counters) {
	if b == nil {
		return
	}
	a.BytesSent += b.BytesSent
	a.BytesReceived += b.BytesReceived
	a.PacketsSent += b.PacketsSent
	a.PacketsReceived += b.PacketsReceived
	if b.SrttMicros != nil {
		a.SrttMicros = b.SrttMicros
	}
	if b.Retransmits != nil {
		n := *b.Retransmits
		if a.Retransmits != nil {
			n += *a.Retransmits
		}
		a.Retransmits = &n
	}
	if b.Dropped != nil {
		n := *b.Dropped + a.GetDropped()
		a.Dropped = &n
	}
}
