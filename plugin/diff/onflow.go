package diff

import "github.com/orb8-dev/kubectl-orb8/event"

// flow is the state of a connection that has not ended.
type flow struct {
	thing     *thing
	signature int
	first, at uint64
	last      flowAmounts
	counted   [len(flowAmounts{})]float64
	seen      float64
	opened    bool
}

// flowAmounts are the amounts of a flow: what src has sent and received, the segments that were retransmitted, the sum
// of the response times in µs and their number.
type flowAmounts [5]uint64

var flowMeasures = [len(flowAmounts{})]measure{sent, received, retransmits, response, responded}

// onFlow counts by how much a flow has grown since its last event. A flow counts for the workload that has opened it.
// Where that end was not observed, it counts for the one that has answered.
func (p *Profile) onFlow(ev *event.Event, f *event.Flow) {
	if f.GetId() == "" || len(f.GetId()) > maxID {
		p.leftOut++
		return
	}
	if p.isDNS(f.GetDst()) {
		return
	}
	s := p.flows[f.GetId()]
	made := s == nil
	closed := f.GetPhase() == event.Phase_PHASE_CLOSED
	if made {
		if len(p.flows) >= maxCounters && !closed {
			p.leftOut++
			return
		}
		s = &flow{}
	}
	if sign := signature(f); made || sign != s.signature {
		s.signature = sign
		p.name(s, p.flowThing(f))
	}
	p.grow(s, ev.GetTime(), f, made)
	switch {
	case closed:
		delete(p.flows, f.GetId())
	case made:
		p.flows[f.GetId()] = s
	}
}

// grow counts what is new of a flow.
func (p *Profile) grow(s *flow, at uint64, f *event.Flow, made bool) {
	now := amountsOf(f)
	from := s.at
	if made {
		start := f.GetStartTime()
		if start == 0 || start < p.clock.start || f.GetPhase() == event.Phase_PHASE_UPDATE {
			s.last, start = now, at // what it had counted before is not of the recording
		} else {
			s.opened = true
		}
		s.first, from = start, start
	}
	var fresh [len(flowAmounts{})]float64
	active := made
	for i := range now {
		if now[i] > s.last[i] {
			fresh[i] = float64(now[i] - s.last[i])
			s.last[i] = now[i]
			active = true
		}
	}
	s.at = max(s.at, at)
	if t := s.thing; t != nil && active {
		s.seen++
		t.seen.add(&p.clock, at, 1)
		if made && s.opened {
			t.series(connections).add(&p.clock, s.first, 1)
		}
		for i, n := range fresh {
			if n > 0 {
				s.counted[i] += n
				t.series(flowMeasures[i]).spread(&p.clock, from, at, n)
			}
		}
	}
}

// name sets the thing of a flow. What the flow has counted so far moves to it: an end may get its name late.
func (p *Profile) name(s *flow, t *thing) {
	before := s.thing
	if before == t {
		return
	}
	s.thing = t
	if before == nil || s.seen == 0 {
		return
	}
	for _, move := range []struct {
		thing *thing
		sign  float64
	}{{before, -1}, {t, 1}} {
		if move.thing == nil {
			continue
		}
		move.thing.seen.spread(&p.clock, s.first, s.at, move.sign*s.seen)
		if s.opened {
			move.thing.series(connections).add(&p.clock, s.first, move.sign)
		}
		for i, n := range s.counted {
			if n > 0 {
				move.thing.series(flowMeasures[i]).spread(&p.clock, s.first, s.at, move.sign*n)
			}
		}
	}
}

// flowThing returns what a flow is counted as.
func (p *Profile) flowThing(f *event.Flow) *thing {
	src, dst := f.GetSrc(), f.GetDst()
	if loneAnswer(f) {
		return nil
	}
	p.seeService(dst)
	if f.GetSrcCounters() != nil || f.GetDstCounters() == nil {
		if o := p.ownerOf(src.GetNamespace(), src.GetPod(), src.GetWorkload(), src.GetContainer()); o != nil {
			return p.thing(o, thingKey{topicPeer, calledName(f), f.GetProtocol()})
		}
	}
	if o := p.ownerOf(dst.GetNamespace(), dst.GetPod(), dst.GetWorkload(), dst.GetContainer()); o != nil {
		return p.thing(o, thingKey{topicClient, clientName(src), f.GetProtocol()})
	}
	p.unnamed++
	return nil
}

// loneAnswer reports whether a flow is but the answer to a datagram from before the pod was observed: a new pod's first
// lookup. It seems to be a conversation that the server has begun.
func loneAnswer(f *event.Flow) bool {
	c := f.GetDstCounters()
	return f.GetProtocol() == event.Protocol_PROTOCOL_UDP && f.GetSrcCounters() == nil && c != nil &&
		f.GetSrc().GetPort() < firstEphemeral && f.GetDst().GetPort() >= firstEphemeral &&
		c.GetPacketsSent() == 0 && c.GetPacketsReceived() <= 2
}

// amountsOf returns the amounts of a flow as far as either end has counted them. The response times are those of the
// end that has opened it, and where it was not observed, those that the other end knows.
func amountsOf(f *event.Flow) (a flowAmounts) {
	src, dst := f.GetSrcCounters(), f.GetDstCounters()
	if src != nil {
		a[0], a[1] = src.GetBytesSent(), src.GetBytesReceived()
	} else {
		a[0], a[1] = dst.GetBytesReceived(), dst.GetBytesSent()
	}
	a[2] = src.GetRetransmits() + dst.GetRetransmits()
	times := src.GetResponses()
	if src == nil {
		times = dst.GetResponses()
	}
	a[3], a[4] = times.GetTotalMicros(), event.ResponseCount(times)
	return a
}

// signature is cheap, and another one when an end has got a name or counters that it had not.
func signature(f *event.Flow) int {
	n := 0
	for _, e := range [...]*event.Endpoint{f.GetSrc(), f.GetDst()} {
		n = n*31 + len(e.GetContainer()) + len(e.GetPod())<<8 + len(e.GetWorkload())<<16 + len(e.GetService())<<24 +
			len(e.GetNode())<<32 + len(e.GetHost())<<40
	}
	if f.GetSrcCounters() != nil {
		n ^= 1 << 60
	}
	if f.GetDstCounters() != nil {
		n ^= 1 << 61
	}
	return n
}
