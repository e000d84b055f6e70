package collect

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// schedule decides when the flow that p has changed is emitted next.
func (c *Collector) schedule(f *flow, p *part, now time.Time) {
	f.lastChange = p
	expect, clock := c.expects(f), c.at(now)
	switch {
	case f.allClosed():
		if f.halfClosed == 0 {
			f.halfClosed = clock
		}
		f.closing = false
		c.timers.remove(f)
		if expect {
			c.queue(f, f.first.add(c.o.JoinWindow), now)
		} else {
			c.queue(f, clock, now)
		}
	case f.anyClosed():
		// The other end will soon send its last report. Until then only the first event is emitted.
		if !f.closing {
			f.closing, f.halfClosed = true, clock
			c.timers.set(f, clock.add(c.o.CloseWait))
		}
		switch {
		case !f.emitted:
			c.queue(f, f.first.add(c.o.JoinWindow), now)
		case f.item.at >= 0: // it will include this change, and so its time
			c.queue(f, f.item.due, now)
		}
	case !f.emitted:
		c.reopen(f)
		if expect {
			c.queue(f, f.first.add(c.o.JoinWindow), now)
		} else {
			c.queue(f, clock, now)
		}
	case clock.since(f.lastEmit) < c.o.Updates && f.item.at < 0:
		c.reopen(f)
		if f.timerAt < 0 {
			c.timers.set(f, f.lastEmit.add(c.o.Updates))
		}
	case p == f.leader || clock.since(f.lastEmit) >= c.halfWait():
		c.reopen(f)
		f.leader = p
		c.queue(f, clock, now)
	case f.item.at >= 0:
		c.reopen(f)
		c.queue(f, f.item.due, now)
	default:
		// One event per interval: the next report of the leading half will include this change, unless the half is
		// silent.
		c.reopen(f)
		if f.timerAt < 0 {
			c.timers.set(f, f.lastEmit.add(c.halfWait()))
		}
	}
}

// halfWait returns how long the changes of one half wait for the other's.
func (c *Collector) halfWait() time.Duration { return c.o.Interval + c.o.Interval/2 }

// reopen cancels the close of a flow.
func (c *Collector) reopen(f *flow) {
	if f.closing {
		f.closing = false
		c.timers.remove(f)
	}
}

// expects reports whether to wait for a second half of the flow.
func (c *Collector) expects(f *flow) bool {
	if f.both() || f.waited || f.emitted || c.finished {
		return false
	}
	side := f.missing()
	peer := f.ends[side].name
	if s := c.sources[peer.Node]; peer.Node != "" {
		if s != nil && (!s.open || c.lags(s) && !f.allClosed()) || c.o.SkipStarting && (s == nil || s.heard.IsZero()) {
			return false
		}
	}
	// The client of an observed dst with a node's or an unknown address may be an observed pod behind SNAT.
	return peer.Observed || side == src && peer.Pod == ""
}

// lags reports whether a node, of many, is so far behind most others that its half of a new flow comes too late for the
// flow's first event. The last event of an ended flow waits for such nodes: see behind.
func (c *Collector) lags(s *Source) bool {
	return !c.o.Recorded && len(c.sources) >= gatherFrom && !s.heard.IsZero() &&
		s.watermark+uint64(c.o.MaxDelay+c.o.JoinWindow) < c.typical
}

// lacksHalf reports whether the last event of an emitted flow would be without the half of an observed pod.
func (c *Collector) lacksHalf(f *flow) bool {
	if f.both() || !f.emitted || c.finished {
		return false
	}
	return f.ends[f.missing()].name.Observed
}

const (
	// behindLimit is how long an ended flow waits for a lagging node. A tracer keeps the events of an unnamed container
	// for 2 s. A tracer whose connection is cut lives on for 6 s, and then sends its events or is given up.
	behindLimit = 8 * time.Second
	behindCheck = 50 * time.Millisecond
)

// behind reports whether an ended flow should continue to wait for its second half, because the node of that half lags
// behind. It waits outside the order, so it delays no other event.
func (c *Collector) behind(f *flow, now time.Time) bool {
	since := f.first
	switch {
	case !f.allClosed():
		return false
	case c.expects(f):
	case c.lacksHalf(f):
		since = f.halfClosed
	default:
		return false
	}
	if wait := c.o.LastStateWait; wait > 0 {
		return c.at(now).since(since) < wait
	}
	limit, until := behindLimit, f.item.time
	if f.proto != event.Protocol_PROTOCOL_TCP {
		// A server's socket for datagrams stays open. Its packets are reported at the node's next scan.
		limit = max(limit, c.scanInterval()+time.Second)
		until += uint64(c.scanInterval()) + lateness
	}
	if c.at(now).since(since) >= limit {
		return false
	}
	if s := c.sources[f.ends[f.missing()].name.Node]; s != nil {
		return s.open && s.promise() < until
	}
	for _, s := range c.sources {
		if s.open && s.promise() < until {
			return true
		}
	}
	return false
}

// behindCheck is the time between two calls of behind for a flow. Its second half ends the wait at once.
func (c *Collector) behindCheck() time.Duration { return max(behindCheck, c.o.LastStateWait/8) }

// lastWordMayCome reports whether the open end of a flow may still close, because its node lags behind.
func (c *Collector) lastWordMayCome(f *flow, now time.Time) bool {
	if c.at(now).since(f.halfClosed) >= behindLimit || c.finished {
		return false
	}
	var closed uint64
	for i := range f.ends {
		for _, p := range f.ends[i].parts {
			if p.closed {
				closed = max(closed, p.report.time)
			}
		}
	}
	for i := range f.ends {
		for _, p := range f.ends[i].parts {
			if s := p.socket.source; !p.closed && s.open && s.promise() < closed {
				return true
			}
		}
	}
	return false
}

// queue adds the flow to the order, to be emitted when it is due.
func (c *Collector) queue(f *flow, due instant, now time.Time) {
	it := &f.item
	if !f.closing {
		c.timers.remove(f)
	}
	when := it.time
	for i := range f.ends {
		if p := f.ends[i].newest(); p != nil {
			when = max(when, p.report.time)
		}
	}
	if it.at >= 0 {
		if due < it.due {
			it.due = due
		}
		if when != it.time {
			it.time, it.key = when, c.key(when, now)
			c.order.fix(it)
		}
		return
	}
	it.time, it.key, it.arrived, it.due = when, c.key(when, now), c.at(now), due
	if !f.emitted {
		it.arrived = f.first
	}
	c.enqueue(it)
}

// expired handles a flow's expired timer: the awaited half or report has not arrived.
func (c *Collector) expired(f *flow, now time.Time) {
	switch {
	case f.closing && c.lastWordMayCome(f, now):
		c.timers.set(f, c.at(now).add(behindCheck))
		return
	case f.closing:
		f.closing, f.forced = false, true
	case c.behind(f, now):
		c.timers.set(f, c.at(now).add(c.behindCheck()))
		return
	}
	f.leader = f.lastChange
	c.queue(f, c.at(now), now)
}

// key is the place in the order of an event with a time that arrives now. An event that claims to be of the future
// would wait until then, as long as others come.
func (c *Collector) key(at uint64, now time.Time) uint64 {
	if c.o.Recorded {
		return at
	}
	return min(at, uint64(max(now.UnixNano(), 0)))
}

// enqueue adds an item to the order.
func (c *Collector) enqueue(it *item) {
	c.serial++
	it.serial = c.serial
	c.pendingBytes += it.bytes
	c.order.push(it)
}

// dequeue removes an item from the order.
func (c *Collector) dequeue(it *item) {
	c.order.remove(it)
	c.pendingBytes -= it.bytes
}

// emit builds the event of an item that has left the order.
func (c *Collector) emit(it *item, out *batch, now time.Time) {
	f := it.flow
	if f == nil {
		out.events = append(out.events, it.ev)
		return
	}
	f.waited = true
	phase := event.Phase_PHASE_UPDATE
	switch {
	case f.forced || f.allClosed():
		phase = event.Phase_PHASE_CLOSED
	case !f.emitted:
		phase = event.Phase_PHASE_NEW
	}
	if f.id == "" {
		f.setID()
	}
	if f.leader == nil || !f.emitted {
		f.leader = f.ends[src].newest()
		if f.leader == nil {
			f.leader = f.ends[dst].newest()
		}
	}
	f.emitted, f.lastEmit = true, c.at(now)
	c.build(f, phase, out.slot())
	if phase == event.Phase_PHASE_CLOSED {
		c.close(f, now)
	}
}

// close removes a flow whose last event is out from the open ones, and remembers it for a while.
func (c *Collector) close(f *flow, now time.Time) {
	c.forget(f)
	if f.indexed {
		addTombstone(&c.tombstones, isnTombstone{f.isn}, tombstone{}, now, c.o.Linger)
	}
	for i := range f.ends {
		for _, p := range f.ends[i].parts {
			c.rememberPart(p, now)
		}
	}
}

// rememberPart remembers a part of a flow that ends.
func (c *Collector) rememberPart(p *part, now time.Time) {
	f, t := p.flow, &c.tombstones
	if !p.closed {
		addTombstone(t, partTombstone{p.key()}, tombstone{last: p.end()}, now, openMemory)
	}
	if f.ends[1-p.side].observed() || f.proto == event.Protocol_PROTOCOL_TCP {
		return
	}
	// The expected other half.
	g := p.otherHalf()
	if p.viaService {
		addTombstone(t, backendTombstone{int32(f.proto), p.local}, g, now, c.o.Linger)
	} else {
		addTombstone(t, peerTombstone{int32(f.proto), p.remote, p.local}, g, now, c.o.Linger)
	}
}

// forget removes a flow from all indexes and queues.
func (c *Collector) forget(f *flow) {
	c.flowBytes -= f.release()
	f.unindex(&c.index)
	c.recent.remove(f)
	c.timers.remove(f)
	if f.item.at >= 0 {
		c.dequeue(&f.item)
	}
}

// evict makes room for a newer flow. The current state of f is still emitted. Its later reports look like a new flow,
// which counts as a loss of a source.
func (c *Collector) evict(f *flow, now time.Time, source string) {
	f.unindex(&c.index)
	c.recent.remove(f)
	f.item.bytes = f.release()
	c.flowBytes -= f.item.bytes
	if f.item.at >= 0 {
		c.pendingBytes += f.item.bytes
	}
	if f.timerAt >= 0 {
		c.timers.remove(f)
		c.queue(f, c.at(now), now)
	}
	c.loss.addOf(Loss{Node: f.node(), Stage: event.LossStage_LOSS_STAGE_MERGE, Source: source, Count: 1})
}
