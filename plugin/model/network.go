package model

import (
	"net/netip"
	"strconv"
	"unique"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The amounts of a series of top network.
const (
	sent = iota
	received
	retransmits
	// The others are of ends, not of a flow.
	opened
	failed
	// The round-trip times that flows had when they ended: their sum, µs, and how many.
	srttSum
	srtts

	ofFlow = opened
)

func networkTopic() *Topic {
	return &Topic{
		Name: "network", Sources: []string{"flow", "tcp"}, Row: event.KindByName("networkTop"), Sort: "sentPerSecond",
		Groups: groups(
			&Group{Name: "pod", Doc: "a pod", dims: []dim{dimNamespace, dimPod}},
			&Group{Name: "peer", Doc: "the other end: a Service, workload, node or address", dims: []dim{dimPeer}},
			&Group{Name: "process", Doc: "a command, in whatever pods", dims: []dim{dimProcess}},
			&Group{Name: "flow", Doc: "a flow; those of two ends that are over make one row", each: true},
		),
		Into: []string{"namespace", "workload", "pod", "peer", "flow"},
		Lines: []Line{
			{Name: "sent", Type: event.Bytes, measure: sent}, {Name: "received", Type: event.Bytes, measure: received},
			{Name: "opened", Type: event.Count, measure: opened}, {Name: "failed", Type: event.Count, measure: failed},
			{Name: "retransmits", Type: event.Count, measure: retransmits},
		},
		spec: topicSpec{
			amounts: 7, own: ofFlow, flip: [maxAmounts]int{received, sent, retransmits, opened, failed, srttSum, srtts},
			doubled: failed, add: addNetwork, fill: fillNetwork,
		},
	}
}

func addNetwork(s *store, ev *event.Event, now int64) bool {
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		addFlow(s, ev, k.Flow, now)
	case *event.Event_Tcp:
		addConnection(s, ev, k.Tcp, now)
	default:
		return false
	}
	return true
}

// addFlow counts by how much a flow has grown since its last event.
func addFlow(s *store, ev *event.Event, f *event.Flow, now int64) {
	if f.GetId() == "" {
		return
	}
	l, made := s.seriesByID(f.GetId())
	if sign := signature(f); made || sign != l.signature {
		l.signature = sign
		l.pair = s.flowEnds(ev, f)
	}
	l.live = true
	grown := amountsOf(f)
	var new [maxAmounts]uint64
	baseline := made &&
		(f.GetStartTime() == 0 || f.GetPhase() == event.Phase_PHASE_UPDATE || s.isPreexisting(f.GetStartTime()))
	if made {
		// What went before it was first seen is not of any window.
		if baseline {
			l.seen = grown
		} else {
			l.pair.closedTotals.add(now, s.spec.amounts, [maxAmounts]uint64{opened: 1})
		}
	}
	for i := range grown {
		if grown[i] > l.seen[i] {
			new[i] = grown[i] - l.seen[i]
			l.seen[i] = grown[i]
		}
	}
	if micros := event.SrttMicros(f); micros != 0 {
		l.srttMicros = micros
	}
	l.add(now, s.spec.own, new)
	l.addResponses(f, now, baseline)
	if f.GetPhase() != event.Phase_PHASE_CLOSED {
		return
	}
	if l.srttMicros != 0 {
		l.pair.closedTotals.add(now, s.spec.amounts, [maxAmounts]uint64{srttSum: uint64(l.srttMicros), srtts: 1})
	}
	s.end(l)
}

func amountsOf(f *event.Flow) (a [3]uint64) {
	src, dst := f.GetSrcCounters(), f.GetDstCounters()
	if src != nil {
		a[sent], a[received] = src.GetBytesSent(), src.GetBytesReceived()
	} else {
		a[sent], a[received] = dst.GetBytesReceived(), dst.GetBytesSent()
	}
	a[retransmits] = src.GetRetransmits() + dst.GetRetransmits()
	return a
}

// addConnection counts a TCP connection that came to nothing or was reset.
func addConnection(s *store, ev *event.Event, t *event.Tcp, now int64) {
	if o := t.GetOutcome(); !o.NeverMade() && o != event.TCPOutcome_TCP_OUTCOME_RESET {
		return
	}
	src, dst := t.GetSrc(), t.GetDst()
	id := identity{
		dims: [2]dimensions{noDimensions(), noDimensions()}, sides: 1, protocol: event.Protocol_PROTOCOL_TCP,
	}
	f := &id.dims[0]
	if t.GetObserved() == event.Side_SIDE_DST {
		id.flipped = true
		// The client reports it as well, if it is an observed pod. Whether it is, is not known.
		id.echo = src.GetPod() != ""
		f.self(ev.GetNamespace(), ev.GetPod(), ev.GetContainer(), ev.GetWorkload(), ev.GetNode(), dst.GetComm())
		f.set(dimPeer, clientName(src))
	} else {
		f.self(ev.GetNamespace(), ev.GetPod(), ev.GetContainer(), ev.GetWorkload(), ev.GetNode(), src.GetComm())
		f.set(dimPeer, serverName(dst))
	}
	id.server = partyOf(dst, true)
	w := s.endpointPair(id, partyOf(src, false))
	w.closedTotals.add(now, s.spec.amounts, [maxAmounts]uint64{failed: 1})
}

// signature is cheap, and another one when an end has got a name, a process or counters that it had not.
func signature(f *event.Flow) int {
	n := 0
	for _, e := range [...]*event.Endpoint{f.GetSrc(), f.GetDst()} {
		n = n*31 + len(e.GetComm()) + len(e.GetContainer())<<4 + len(e.GetPod())<<8 + len(e.GetWorkload())<<12 +
			len(e.GetService())<<16 + len(e.GetNode())<<20 + len(e.GetHost())<<24
	}
	if f.GetSrcCounters() != nil {
		n ^= 1 << 40
	}
	if f.GetDstCounters() != nil {
		n ^= 1 << 41
	}
	return n
}

// flowEnds are the ends of a flow: dimensions for each that was observed.
func (s *store) flowEnds(ev *event.Event, f *event.Flow) *endpointPair {
	src, dst := f.GetSrc(), f.GetDst()
	id := identity{dims: [2]dimensions{noDimensions(), noDimensions()}, protocol: f.GetProtocol()}
	observed := func(e *event.Endpoint, peer string) {
		side := &id.dims[id.sides]
		node := e.GetNode()
		if node == "" {
			node = ev.GetNode()
		}
		side.self(e.GetNamespace(), e.GetPod(), e.GetContainer(), e.GetWorkload(), node, e.GetComm())
		side.set(dimPeer, peer)
		id.sides++
	}
	if f.GetSrcCounters() != nil {
		observed(src, serverName(dst))
	}
	if f.GetDstCounters() != nil {
		id.flipped = id.sides == 0
		observed(dst, clientName(src))
	}
	if id.sides == 0 {
		observed(src, serverName(dst))
	}
	id.server = partyOf(dst, true)
	return s.endpointPair(id, partyOf(src, false))
}

// serverName is what people call the end that was called: with the port.
func serverName(e *event.Endpoint) string {
	if e.GetService() != "" {
		return withPort(e.GetServiceNamespace()+"/"+e.GetService(), e.GetServicePort()) + e.GetServiceNote().Mark()
	}
	if e.GetPod() == "" && e.GetHost() == "" && e.GetNode() == "" {
		if a, ok := netip.AddrFromSlice(e.GetAddress()); ok && e.GetPort() != 0 {
			return netip.AddrPortFrom(a, uint16(e.GetPort())).String()
		}
	}
	return withPort(clientName(e), e.GetPort())
}

func withPort(name string, port uint32) string {
	if port == 0 {
		return name
	}
	return name + ":" + strconv.Itoa(int(port))
}

// clientName is what people call the end that has called.
func clientName(e *event.Endpoint) string {
	_, name := nameOf(e, false)
	return name
}

func partyOf(e *event.Endpoint, server bool) party {
	kind, name := nameOf(e, server)
	p := party{kind: unique.Make(kind), name: unique.Make(name)}
	if kind == "service" {
		p.port, p.note = e.GetServicePort(), e.GetServiceNote()
	}
	return p
}

// nameOf is the best name of an end: its Service where it was called by that, its workload, pod, node, host or address.
func nameOf(e *event.Endpoint, server bool) (kind, name string) {
	switch {
	case server && e.GetService() != "":
		return "service", e.GetServiceNamespace() + "/" + e.GetService()
	case e.GetWorkload() != "":
		return "workload", e.GetNamespace() + "/" + e.GetWorkload()
	case e.GetPod() != "":
		return "pod", e.GetNamespace() + "/" + e.GetPod()
	case e.GetHost() != "":
		return "external", e.GetHost()
	case e.GetNode() != "":
		return "node", "node/" + e.GetNode()
	}
	if a, ok := netip.AddrFromSlice(e.GetAddress()); ok {
		return "external", a.String()
	}
	return "", ""
}

func fillNetwork(ev *event.Event, r *sum) {
	k, _ := ev.GetKind().(*event.Event_NetworkTop)
	if k == nil {
		k = &event.Event_NetworkTop{NetworkTop: new(event.NetworkTop)}
		ev.Kind = k
	}
	t := k.NetworkTop
	t.Group, t.Name, t.WindowMicros, t.Workload = r.group.Name, r.name(), r.windowMicros(), r.workload()
	t.Peer, t.Process, t.Id = r.dimensions[dimPeer].Value(), r.dimensions[dimProcess].Value(), r.id
	t.Protocol = r.protocol
	t.BytesSent, t.BytesReceived = whole(r.amounts[sent]), whole(r.amounts[received])
	t.SentPerSecond, t.ReceivedPerSecond = whole(r.perSecond(sent)), whole(r.perSecond(received))
	t.Flows, t.Opened, t.Failed = uint64(r.live), whole(r.amounts[opened]), whole(r.amounts[failed])
	t.Retransmits = whole(r.amounts[retransmits])
	t.SrttMicros = nil
	if mean := r.meanSrtt(); mean != 0 {
		t.SrttMicros = &mean
	}
	r.fillResponses(t)
}

// meanSrtt is the mean round-trip time of the flows that live and of those that ended in the window, µs; 0 where none
// is known.
func (r *sum) meanSrtt() uint64 {
	n := float64(r.srtts) + r.amounts[srtts]
	if n < 1 {
		return 0
	}
	return whole((r.srtt + r.amounts[srttSum]) / n)
}
