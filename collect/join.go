package collect

import (
	"math"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// half is a decoded flow event of a node.
type half struct {
	source        *Source
	ev            *event.Event
	flow          *event.Flow
	socket        socket
	side          int // the role that it reports
	local, remote addrPort
	hasISN        bool
	isn           [2]uint32 // initial sequence numbers of its own end and of its peer
}

func readHalf(s *Source, ev *event.Event, f *event.Flow) half {
	h := half{source: s, ev: ev, flow: f}
	ends := [2]addrPort{newAddrPort(f.GetSrc()), newAddrPort(f.GetDst())}
	switch f.GetProtocol() {
	case event.Protocol_PROTOCOL_ICMP, event.Protocol_PROTOCOL_ICMPV6:
		// The echo identifier belongs to the conversation, not to an end.
		id := max(ends[src].port, ends[dst].port)
		ends[src].port, ends[dst].port = id, id
	}
	isns := [2]uint32{f.GetSrcIsn(), f.GetDstIsn()}
	if f.GetObserved() == event.Side_SIDE_DST {
		h.side = dst
	}
	h.local, h.remote = ends[h.side], ends[1-h.side]
	h.socket = socket{source: s, proto: f.GetProtocol(), cookie: f.GetSocketCookie()}
	if h.tcp() {
		h.hasISN = f.GetIsnValid()
		h.isn = [2]uint32{isns[h.side], isns[1-h.side]}
	}
	return h
}

func (h *half) tcp() bool { return h.socket.tcp() }

// key is the key of the half in the index.
func (h *half) key() partKey { return h.socket.key(h.local, h.remote) }

func (h *half) closed() bool { return h.flow.GetPhase() == event.Phase_PHASE_CLOSED }

// half processes a half: it finds or creates its flow, and schedules the flow's event.
func (c *Collector) half(s *Source, ev *event.Event, f *event.Flow, now time.Time) {
	h := readHalf(s, ev, f)
	p := c.index.find(h.socket, h.local, h.remote)
	if p != nil && h.reopens(p) {
		p.closed = true
		c.index.remove(p)
		c.schedule(p.flow, p, now)
		p = nil
	}
	if p == nil {
		if c.late(&h, now) {
			return
		}
		if p = c.admit(&h, now); p == nil {
			return
		}
		if c.tombstones.mayRepeat(p.start, now) && !p.flow.both() {
			c.loss.addOf(Loss{Node: s.node, Stage: event.LossStage_LOSS_STAGE_MERGE, Source: mayRepeat, Count: 1})
		}
	} else {
		c.update(p, &h)
	}
	if h.hasISN && !p.flow.indexed && !c.learnISN(p, &h) {
		return
	}
	p.flow.settleRole(p, &h)
	c.recent.touch(p.flow)
	c.schedule(p.flow, p, now)
	for c.recent.n > c.o.MaxFlows || c.flowBytes > c.o.MaxFlowBytes && c.recent.n > 1 {
		c.evict(c.recent.oldest, now, "")
	}
}

// reopens reports whether h, which has the addresses and socket of p, belongs to a later conversation: one that began
// after p's had ended or was reported as closed.
func (h *half) reopens(p *part) bool {
	return !h.tcp() && h.flow.GetStartTime() > p.start && p.start != 0 &&
		(p.closed || h.flow.GetPhase() == event.Phase_PHASE_NEW)
}

// end returns the latest start of a half with the key of p that still belongs to p's conversation. A TCP socket has
// only one conversation.
func (p *part) end() uint64 {
	if p.socket.tcp() {
		return math.MaxUint64
	}
	return p.start
}

// update applies a newer event of a half.
func (c *Collector) update(p *part, h *half) {
	if p.instance != h.source.instance {
		p.rebase(h)
	}
	p.instance = h.source.instance
	p.report.set(h)
	c.flowBytes -= int(p.bytes)
	p.bytes = int32(p.memory())
	c.flowBytes += int(p.bytes)
	p.closed = p.closed || h.closed()
}

// rebase keeps what an earlier tracer has counted: a new one counts datagrams and response times from zero. TCP's other
// counters are the socket's own.
func (p *part) rebase(h *half) {
	sum := p.counters()
	switch {
	case !h.tcp():
		p.base = sum
	case sum != nil && len(sum.histogram) > 0:
		p.base = &counters{responses: sum.responses}
		p.report.counters.responses = responses{}
	}
}

// own returns the counters of the newest event; nil: it has none.
func (p *part) own() *counters {
	if !p.report.hasCounts {
		return nil
	}
	return &p.report.counters
}

// counters returns the counters of the newest event plus those of earlier tracers; nil: there are none.
func (p *part) counters() *counters {
	if p.base == nil && !p.report.hasCounts {
		return nil
	}
	sum := new(counters)
	sum.add(p.base)
	sum.add(p.own())
	return sum
}

// admit finds the flow of an unknown half, or creates one. It returns nil for a half that must not be shown: a late
// half of a closed flow, or a half of a socket that another source already shows.
func (c *Collector) admit(h *half, now time.Time) *part {
	if h.tcp() {
		return c.admitTCP(h, now)
	}
	q, sibling := c.match(h)
	if q == nil {
		return c.attach(newFlow(h.flow.GetProtocol(), c.at(now)), h.side, h)
	}
	side := int(1 - q.side)
	if sibling {
		side = int(q.side)
	}
	if !c.makeRoom(q.flow, side, now) {
		return c.attach(newFlow(h.flow.GetProtocol(), c.at(now)), h.side, h)
	}
	return c.attach(q.flow, side, h)
}

func (c *Collector) admitTCP(h *half, now time.Time) *part {
	if h.hasISN {
		pair := newISNPair(h.isn[0], h.isn[1])
		if f := c.index.isns[pair]; f != nil {
			side, plausible := f.tcpSide(h, c)
			switch {
			case !plausible:
				// The numbers agree by chance: it gets its own flow, which they do not index.
				h.hasISN = false
			case f.ends[side].observed():
				return nil
			default:
				return c.attach(f, side, h)
			}
		}
	}
	return c.attach(newFlow(h.flow.GetProtocol(), c.at(now)), h.side, h)
}

// tcpSide returns the end of f to which a half with the same sequence numbers belongs, and whether the addresses of
// both halves can be one connection: at least one end must look the same from both sides, or a Service or node between
// them translates both.
func (f *flow) tcpSide(h *half, c *Collector) (side int, plausible bool) {
	side = src
	if f.ends[dst].isn == h.isn[0] && (f.ends[src].isn != h.isn[0] || f.ends[src].observed()) {
		side = dst
	}
	other := f.ends[1-side].parts
	if len(other) == 0 {
		return side, true
	}
	q := other[0]
	if h.remote == q.local || q.remote == h.local || h.remote.port == q.local.port || q.remote.port == h.local.port {
		return side, true
	}
	for _, peer := range []addrPort{h.remote, q.remote} {
		if n := c.name(peer, h.flow.GetProtocol()); n.Service != "" || n.Pod == "" {
			return side, true
		}
	}
	return side, false
}

// attach adds a half to a flow as a part of one of its ends.
func (c *Collector) attach(f *flow, side int, h *half) *part {
	p := &part{
		socket: h.socket, flow: f, side: uint8(side), local: h.local, remote: h.remote, start: h.flow.GetStartTime(),
		closed: h.closed(), instance: h.source.instance,
	}
	p.report.set(h)
	p.bytes = int32(p.memory())
	c.flowBytes += int(p.bytes)
	name := c.nameAt(h.remote, h.flow.GetProtocol(), h.ev.GetTime())
	p.viaService = name.Service != ""
	if peer := &f.ends[1-side]; peer.name.empty() || peer.name.Service == "" && p.viaService {
		peer.name = c.share(name)
	}
	f.ends[side].parts = append(f.ends[side].parts, p)
	f.trimNames()
	c.index.add(p)
	return p
}

// learnISN indexes f by its sequence numbers, which a half lacks while it connects, and joins it with the flow that the
// other half has created meanwhile. It returns false if that flow is already closed and f, which has no emitted event,
// is dropped as late.
func (c *Collector) learnISN(p *part, h *half) bool {
	f, pair := p.flow, newISNPair(h.isn[0], h.isn[1])
	if !f.emitted && hasTombstone(&c.tombstones, isnTombstone{pair}, 0) {
		c.forget(f)
		return false
	}
	g := c.index.isns[pair]
	if g == nil {
		f.isn, f.indexed = pair, true
		f.ends[p.side].isn, f.ends[1-p.side].isn = h.isn[0], h.isn[1]
		c.index.isns[pair] = f
		return true
	}
	side, plausible := g.tcpSide(h, c)
	if !plausible || g.ends[side].observed() || f.emitted && g.emitted {
		return true
	}
	if f.emitted {
		// f's id is already emitted: f takes g's half and its place.
		other := g.ends[1-side]
		c.forget(g)
		f.isn, f.indexed = pair, true
		c.index.isns[pair] = f
		f.ends[p.side].isn, f.ends[1-p.side].isn = h.isn[0], h.isn[1]
		f.ends[1-p.side].parts = other.parts
		f.trimNames()
		for _, q := range other.parts {
			q.flow, q.side = f, 1-p.side
			c.index.add(q)
		}
		return true
	}
	c.forget(f)
	p.flow, p.side = g, uint8(side)
	g.ends[side].parts = append(g.ends[side].parts, p)
	g.trimNames()
	c.index.add(p)
	return true
}

// settleRole decides which end is src if the halves disagree: a certain half is right. Without one, a flow without
// emitted events has the smaller port at its dst. Of two parts of one socket, the earlier one shows which end sent
// first.
func (f *flow) settleRole(p *part, h *half) {
	conflict := h.side != int(p.side)
	if q := f.ends[p.side].parts[0]; q != p && q.sameSocket(h) {
		if conflict && p.start != 0 && p.start < q.start {
			f.swap()
			f.ends[p.side].parts[0], f.ends[p.side].parts[len(f.ends[p.side].parts)-1] = p, q
		}
		return
	}
	switch {
	case h.flow.GetRoleKnown():
		if conflict && !f.roleKnown {
			f.swap()
		}
		f.roleKnown = true
	case conflict && !f.roleKnown && !f.emitted && f.both():
		if f.ends[src].parts[0].local.port < f.ends[dst].parts[0].local.port {
			f.swap()
		}
	}
}

// match finds the flow of a non-TCP half by one of its parts: the peer's, or, as sibling, one of the same socket.
func (c *Collector) match(h *half) (q *part, sibling bool) {
	proto := h.flow.GetProtocol()
	fits := func(q *part) bool { return q.accepts(h) }
	// The peer has the same addresses for both ends.
	q = c.index.locals.find(proto, h.remote, func(q *part) bool { return q.remote == h.local && fits(q) })
	if q != nil {
		return q, false
	}
	if proto != event.Protocol_PROTOCOL_UDP {
		return nil, false
	}
	viaService := c.name(h.remote, proto).Service != ""
	if viaService {
		backs := func(q *part) bool { return c.backs(h.remote, q.local, proto) && fits(q) }
		// The backend sees our address; through SNAT only our port; or another address, if a pod connects to itself.
		if q = c.index.remotes.find(proto, h.local, backs); q != nil {
			return q, false
		}
		q = c.index.remotes.find(proto, h.local.portOnly(), func(q *part) bool {
			return q.unjoined() && c.masked(q.remote, proto) && backs(q)
		})
		if q != nil {
			return q, false
		}
		q = c.index.locals.find(proto, h.local.ip(), func(q *part) bool {
			return q.unjoined() && q.socket.source == h.source && q.local != h.local && c.masked(q.remote, proto) &&
				backs(q)
		})
		if q != nil {
			return q, false
		}
		// The same socket under the backend's address: a socket of the host's network sends to the backend and receives
		// from the Service.
		q = c.index.locals.find(proto, h.local, func(q *part) bool {
			return q.sameSocket(h) && c.backs(h.remote, q.remote, proto)
		})
		return q, q != nil
	}
	backs := func(q *part) bool { return c.backs(q.remote, h.local, proto) && fits(q) }
	if q = c.index.viaService.find(proto, h.remote, backs); q != nil {
		return q, false
	}
	if c.masked(h.remote, proto) {
		q = c.index.viaService.find(proto, h.remote.portOnly(), func(q *part) bool { return q.unjoined() && backs(q) })
		if q != nil {
			return q, false
		}
		q = c.index.viaService.find(proto, h.local.ip(), func(q *part) bool {
			return q.unjoined() && q.socket.source == h.source && q.local != h.local && backs(q)
		})
		if q != nil {
			return q, false
		}
	}
	q = c.index.viaService.find(proto, h.local, func(q *part) bool {
		return q.sameSocket(h) && c.backs(q.remote, h.remote, proto)
	})
	return q, q != nil
}

// accepts reports whether h can be the other end of q's flow.
func (p *part) accepts(h *half) bool {
	if h.local.isLoopback() && (p.socket.source != h.source || p.report.pod.podUID != h.ev.GetPodUid()) {
		return false // the same addresses belong to another pod
	}
	if p.closed && p.flow.ends[p.side].closed() && !h.continues(p.otherHalf()) {
		return false // another conversation of the same addresses
	}
	for _, other := range p.flow.ends[1-p.side].parts {
		if !other.closed {
			// That end is already observed: accept only a part of the same socket.
			return other.sameSocket(h)
		}
	}
	return true
}

// unjoined reports whether the other end of the flow is missing.
func (p *part) unjoined() bool { return !p.flow.both() }

// sameSocket reports whether h comes from p's socket.
func (p *part) sameSocket(h *half) bool {
	return p.socket.cookie != 0 && p.socket.cookie == h.socket.cookie && p.socket.source == h.source
}

// masked reports whether an address may be the result of NAT: it is a node's, or unknown.
func (c *Collector) masked(a addrPort, proto event.Protocol) bool {
	n := c.name(a, proto)
	return n.Pod == "" && n.Service == ""
}

func (c *Collector) name(a addrPort, proto event.Protocol) Name {
	if c.o.Namer == nil {
		return Name{Observed: true}
	}
	return c.o.Namer.Name(a.addr(), a.port, proto)
}

// nameAt is name for the time of a recorded event, ns since the Unix epoch.
func (c *Collector) nameAt(a addrPort, proto event.Protocol, at uint64) Name {
	if past, ok := c.o.Namer.(PastNamer); ok && c.o.Recorded {
		return past.NameAt(a.addr(), a.port, proto, time.Unix(0, int64(at)))
	}
	return c.name(a, proto)
}

func (c *Collector) backs(vip, backend addrPort, proto event.Protocol) bool {
	return c.o.Namer != nil && c.o.Namer.Backs(vip.netip(), backend.netip(), proto)
}
