package metrics

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// flow is a half that is followed: a socket of the node, or what it exchanges with one peer. Its events carry
// cumulative counters, of which the differences count.
type flow struct {
	row, rtt *row
	// response is the row of its response times, times those of its last event; nil: there are none.
	response *row
	times    *responseTimes
	pod      *podRef // nil: unknown
	start    uint64  // ns since the Unix epoch; 0: before the agent's process
	values   [netOpened]uint64
	seen     int64
	// observation is that in which it was seen last. A new one counts all but TCP from zero.
	observation uint32
	closed      bool
}

// flows are the flows that are followed.
type flows struct {
	all         map[hash]*flow
	free        []*flow
	observation uint32
	// floor is the latest start of a flow that was forgotten while it was open. Flows of before that are counted from
	// their next event on, lest they count twice.
	floor uint64
}

func (f *flows) init() { f.all = map[hash]*flow{} }

// counterFields are the fields of event.Counters in the order of a row's values.
var counterFields = [netOpened]int{
	netSentBytes: counterBytesSent, netReceivedBytes: counterBytesReceived, netSentPackets: counterPacketsSent,
	netReceivedPackets: counterPacketsReceived, netRetransmits: counterRetransmits, netDropped: counterDropped,
}

// half is the flow of an event.
type half struct {
	protocol event.Protocol
	phase    event.Phase
	server   bool
	start    uint64
	cookie   uint64
	id       hash
	peer     netip.Addr
}

// onFlow takes an event of a flow.
func (t *Table) onFlow(encoded []byte) bool {
	h, ok := t.readHalf(encoded)
	if !ok {
		return false
	}
	f := t.flows.all[h.id]
	if f != nil && h.reopens(f, t.flows.observation) {
		t.close(f)
		t.drop(h.id, f)
		f = nil
	}
	baseline := h.start == 0 || h.start <= t.flows.floor
	t.crowd = nil
	if f != nil {
		t.place(f, &h)
	} else if f = t.follow(&h, baseline); f == nil {
		return true
	} else if baseline {
		f.base(&t.part)
		t.countResponses(f, &h, true)
	}
	if f.observation != t.flows.observation { // another tracer, which has counted response times from zero
		f.times = nil
	}
	t.countResponses(f, &h, false)
	f.seen, f.observation = t.time, t.flows.observation
	traffic := f.count(&t.part)
	if t.crowd != nil {
		t.crowd.add(t.candidate, traffic)
	}
	if t.part.known(counterSrttMicros) && traffic > 0 {
		t.observeRTT(f, h.server, time.Duration(t.part.number(counterSrttMicros))*time.Microsecond)
	}
	if h.phase == event.Phase_PHASE_CLOSED {
		t.close(f)
	}
	return true
}

// readHalf reads the event. Its counters are in t.part.
func (t *Table) readHalf(encoded []byte) (h half, ok bool) {
	m := &t.kind
	if !m.parse(encoded) {
		return h, false
	}
	h = half{protocol: event.Protocol(m.number(flowProtocol)), phase: event.Phase(m.number(flowPhase)),
		server: m.number(flowObserved) == uint64(event.Side_SIDE_DST), start: m.number(flowStartTime),
		cookie: m.number(flowCookie)}
	local, remote, counters := m.text(flowSrc), m.text(flowDst), m.text(flowSrcCounters)
	if h.server {
		local, remote, counters = remote, local, m.text(flowDstCounters)
	}
	// A flow with no counters has carried nothing.
	if !t.part.parse(counters) || !t.end.parse(remote) {
		return h, false
	}
	h.peer, _ = netip.AddrFromSlice(t.end.text(endAddress))
	t.id = append(t.id[:0], byte(famNetwork), byte(h.protocol))
	t.id = binary.LittleEndian.AppendUint64(t.id, h.cookie)
	if !h.own() {
		port := t.end.number(endPort)
		t.id = append(t.id, t.end.text(endAddress)...)
		if !t.end.parse(local) {
			return h, false
		}
		own := t.end.number(endPort)
		if h.protocol == event.Protocol_PROTOCOL_ICMP || h.protocol == event.Protocol_PROTOCOL_ICMPV6 {
			// The identifier is of the conversation, not of an end.
			own = max(own, port)
			port = own
		}
		t.id = binary.LittleEndian.AppendUint32(t.id, uint32(port))
		t.id = append(t.id, t.end.text(endAddress)...)
		t.id = binary.LittleEndian.AppendUint32(t.id, uint32(own))
	}
	h.id = t.hasher.of(t.id)
	return h, true
}

// own reports whether the socket has this flow only.
func (h *half) own() bool { return h.protocol == event.Protocol_PROTOCOL_TCP && h.cookie != 0 }

// reopens reports whether the event is of a later conversation than f with the same socket and addresses.
func (h *half) reopens(f *flow, observation uint32) bool {
	return !h.own() && h.start > f.start &&
		(f.closed || h.phase == event.Phase_PHASE_NEW || f.observation != observation)
}

// follow begins to follow a flow; nil: there is no room. Then it is counted at its end, if this is the end.
func (t *Table) follow(h *half, baseline bool) *flow {
	fl := &t.flows
	if len(fl.all) >= maxFlows {
		if h.phase != event.Phase_PHASE_CLOSED || baseline {
			t.untracked++
			return nil
		}
		f := &flow{start: h.start}
		t.place(f, h)
		f.row.add(netOpened, 1)
		f.count(&t.part)
		t.countResponses(f, h, false)
		t.close(f)
		f.leave()
		return nil
	}
	var f *flow
	if n := len(fl.free); n > 0 {
		f, fl.free = fl.free[n-1], fl.free[:n-1]
	} else {
		f = &flow{}
	}
	*f = flow{start: h.start, pod: t.pods.byUID[string(t.subject.uid)], observation: t.flows.observation}
	fl.all[h.id] = f
	t.place(f, h)
	if !baseline {
		f.row.add(netOpened, 1)
	}
	return f
}

// place finds the row of a flow, and sets that it is touched.
func (t *Table) place(f *flow, h *half) {
	if r := f.row; r == nil || r.gone || r.fold || r.rest {
		f.leave()
		f.row = t.flowRow(h)
		f.row.users++
		if !f.closed {
			f.row.add(netOpen, 1)
		}
	}
	f.row.touched = t.time
}

// leave takes an open flow from its row.
func (f *flow) leave() {
	if f.row == nil {
		return
	}
	f.row.users--
	if !f.closed {
		f.row.values[netOpen]--
	}
	f.row, f.rtt, f.response = nil, nil, nil
}

// flowRow returns the row of a flow.
func (t *Table) flowRow(h *half) *row {
	protocol, role := []byte(h.protocol.Word()), roleOf(h.server)
	if !t.o.PeerAddresses {
		return t.row(famNetwork, &t.subject, protocol, role, scopeOf(h.peer))
	}
	t.scope = h.peer.Unmap().WithZone("").AppendTo(t.scope[:0])
	t.beginKey(famNetwork)
	t.addSubject(&t.subject)
	t.addLabel(protocol)
	t.addLabel(role)
	t.addLabel(t.scope)
	if r := t.rows[string(t.key)]; r != nil {
		return r
	}
	key := t.hasher.of(t.key)
	if o := t.pods.ownerOf(&t.subject, t.time); o.peers >= t.o.TopPeers || !o.crowd.admits(key) {
		if o.crowd == nil {
			o.crowd = &crowd{}
		}
		o.crowd.add(key, 1)
		t.of[famNetwork].folded++
		r := t.row(famNetwork, &t.subject, protocol, role, other)
		r.rest, t.candidate, t.crowd = true, key, o.crowd
		return r
	}
	r := t.row(famNetwork, &t.subject, protocol, role, t.scope)
	if !r.fold && !r.peer {
		r.peer = true
		r.owner.peers++
	}
	return r
}

// The labels of roles and of kinds of addresses.
var (
	roleClient, roleServer       = []byte("client"), []byte("server")
	scopeLoopback, scopePrivate  = []byte("loopback"), []byte("private")
	scopePublic, scopeMulticast  = []byte("public"), []byte("multicast")
	directionSent, directionRecv = []byte("sent"), []byte("received")
	carrierNAT                   = netip.MustParsePrefix("100.64.0.0/10")
)

func roleOf(server bool) []byte {
	if server {
		return roleServer
	}
	return roleClient
}

// scopeOf returns the kind of an address.
func scopeOf(a netip.Addr) []byte {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return nil
	case a.IsLoopback():
		return scopeLoopback
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return scopeMulticast
	case a.IsPrivate(), a.IsLinkLocalUnicast(), a.IsUnspecified(), carrierNAT.Contains(a):
		return scopePrivate
	}
	return scopePublic
}

// base takes counters as what was before.
func (f *flow) base(c *message) {
	for i, field := range counterFields {
		f.values[i] = c.number(field)
	}
}

// count counts how much the counters have grown, and returns by how many bytes and packets. A counter that has become
// less stands still: the kernel subtracts packets that it drops late.
func (f *flow) count(c *message) (traffic uint64) {
	for i, field := range counterFields {
		if !c.known(field) && i >= netRetransmits {
			continue // not known, where others are zero
		}
		v := c.number(field)
		if v <= f.values[i] {
			f.row.known |= 1 << i
			continue
		}
		f.row.add(i, v-f.values[i])
		if i <= netReceivedPackets {
			traffic += v - f.values[i]
		}
		f.values[i] = v
	}
	return traffic
}

func (t *Table) observeRTT(f *flow, server bool, d time.Duration) {
	if f.rtt == nil || f.rtt.gone || f.rtt.fold {
		f.rtt = t.row(famRTT, &t.subject, roleOf(server))
	}
	f.rtt.observe(d, t.time)
}

// observe adds a time to the histogram of a row.
func (r *row) observe(d time.Duration, now int64) {
	r.hist.observe(d)
	r.active++
	r.touched = now
}

// close counts the end of a flow, once.
func (t *Table) close(f *flow) {
	if f.closed {
		return
	}
	if f.row.gone {
		f.closed = true
		return
	}
	f.row.add(netClosed, 1)
	f.row.values[netOpen]--
	f.closed = true
}

// drop forgets a flow.
func (t *Table) drop(id hash, f *flow) {
	f.leave()
	delete(t.flows.all, id)
	if len(t.flows.free) < maxFlows/16 {
		t.flows.free = append(t.flows.free, f)
	}
}

// sweep forgets flows that have ended, those whose pod has, and where there is no room those that have been idle for
// longest.
func (f *flows) sweep(t *Table, now int64) {
	full := len(f.all) >= maxFlows*7/8
	for id, fl := range f.all {
		idle := time.Duration(now-fl.seen) * time.Second
		switch {
		case fl.closed && idle >= closedLife:
		case (fl.pod == nil || fl.pod.gone) && idle >= seriesLife, full && idle >= seriesLife:
			if !fl.closed {
				f.floor = max(f.floor, fl.start)
				t.close(fl)
			}
		default:
			continue
		}
		t.drop(id, fl)
	}
}
