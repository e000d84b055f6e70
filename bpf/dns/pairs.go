package dns

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/budget"
)

const (
	// timeout is how long a query waits for its answer before it is reported without.
	timeout = 5 * time.Second
	// late is how long after that an answer is still taken for its own.
	late = 25 * time.Second
	// waitingBytes is what the queries may take that wait for their answer. When they take more, the cgroup that
	// holds most has its oldest reported as it is, and counted: its answer will find no query.
	waitingBytes = 12 << 20
	// doneBytes is what those may take that were answered, or reported without an answer: an answer that comes later,
	// or twice, finds them.
	doneBytes = 12 << 20
	// maxFree is how many forgotten queries are kept for reuse.
	maxFree = 256
	// queryOverhead is what a query takes besides its name, in both maps too.
	queryOverhead = int64(unsafe.Sizeof(query{}) + 3*(unsafe.Sizeof(pairKey{})+unsafe.Sizeof(idKey{})+
		2*unsafe.Sizeof(&query{})))
)

// pairs joins queries and their answers.
type pairs struct {
	waiting map[pairKey]*query
	// byID finds them without the question, which answers such as FORMERR may leave out: the newest of each.
	byID map[idKey]*query
	// queue has the queries in the order of their deadlines, all of which are equally long; those that were answered
	// stay as well, for an answer that comes twice.
	queue line
	// lates are those that may still get an answer: they were reported without one, or asked more than once.
	lates line
	// pending is what the queries take that wait, done what the others take.
	pending, done *budget.Account[*query]
	// lost is called for each query that had to make room.
	lost func(cgroup uint64)
	// free are queries that were forgotten, for reuse by the next add.
	free []*query
	// ports are those that DNS is spoken on.
	ports []uint16
	emit  func(cgroup uint64, ev *event.Event)

	ev       event.Event
	dns      event.Dns
	src, dst event.Endpoint
	latency  uint64
	count    uint32
	id       uint32
	cut      bool
}

// pairKey is common to an answer and its query. A client's socket has one query with it at a time, a server's socket
// one for each client.
type pairKey struct {
	idKey
	kind uint16
	name string // in lower case
}

type idKey struct {
	cookie uint64
	client netip.AddrPort // of a server's socket
	id     uint16
}

// query waits for its answer.
type query struct {
	key         pairKey
	segment     segment // without data
	name        string  // in the client's spelling
	first, last uint64  // ns since the Unix epoch
	attempts    uint32
	answered    bool
	// reported: as pending; over: as timed out.
	reported, over bool

	charged    budget.Entry[*query]
	line       *line
	prev, next *query // in line
}

// line is a list of queries.
type line struct{ first, last *query }

func (l *line) push(q *query) {
	q.line, q.prev = l, l.last
	if l.last == nil {
		l.first = q
	} else {
		l.last.next = q
	}
	l.last = q
}

// leave removes a query from its line.
func (q *query) leave() {
	l := q.line
	if l == nil {
		return
	}
	if q.prev == nil {
		l.first = q.next
	} else {
		q.prev.next = q.next
	}
	if q.next == nil {
		l.last = q.prev
	} else {
		q.next.prev = q.prev
	}
	q.line, q.prev, q.next = nil, nil, nil
}

// size is what a query takes. Its key has the name in lower case, which may be a copy.
func (q *query) size() int64 { return queryOverhead + 2*int64(len(q.name)) }

// newPairs makes an empty table. lost is called for each query that had to make room.
func newPairs(emit func(uint64, *event.Event), lost func(cgroup uint64)) *pairs {
	p := &pairs{waiting: map[pairKey]*query{}, byID: map[idKey]*query{}, emit: emit, lost: lost}
	p.pending = budget.New(waitingBytes, p.overflow)
	p.done = budget.New(doneBytes, func(_ uint64, q *query) { p.forget(q) })
	p.ev.Kind = &event.Event_Dns{Dns: &p.dns}
	p.dns.Src, p.dns.Dst = &p.src, &p.dst
	return p
}

// add takes a message and the segment that its last byte came in.
func (p *pairs) add(g *segment, m *message) {
	k := pairKey{idKey: idKey{cookie: g.cookie, id: m.id}, kind: m.kind, name: strings.ToLower(m.name)}
	if m.response == (g.flags&flagClient != 0 == (g.flags&flagOut != 0)) {
		if !slices.Contains(p.ports, g.local.Port()) {
			return // an answer that goes the way of a query, or the reverse: neither is one
		}
		g.flags ^= flagClient // the client has a DNS port as well, so only the message shows which end it is
	}
	if g.flags&flagClient == 0 {
		k.client = g.remote
	}
	if m.response {
		p.answer(g, k, m)
		return
	}
	if q := p.waiting[k]; q != nil && !q.over && !q.answered {
		q.attempts++
		q.last = g.time
		return
	}
	q := p.make()
	*q = query{key: k, segment: *g, name: m.name, first: g.time, last: g.time, attempts: 1}
	q.segment.data = nil
	p.waiting[k], p.byID[k.idKey] = q, q
	p.queue.push(q)
	p.pending.Add(&q.charged, g.cgroup, q.size(), q)
}

func (p *pairs) answer(g *segment, k pairKey, m *message) {
	q := p.waiting[k]
	if q == nil && !m.question {
		q = p.byID[k.idKey]
	}
	if q == nil {
		// Its query is older than the trace.
		q = &query{segment: *g, name: m.name}
		q.key.kind, q.key.id = m.kind, m.id
	} else if q.answered {
		return // the answer to a repetition
	} else {
		q.answered = true
		p.settle(q)
	}
	p.fill(q, event.DnsOutcome_DNS_OUTCOME_ANSWERED)
	if g.flags&flagClient != 0 && g.remote != q.segment.remote {
		// A process on the node's network asks a Service: the query is seen with the address of a pod behind it
		// already, the answer with the Service's again. The viewer knows whether that is so.
		p.dst.ServiceAddress, p.dst.ServicePort = g.remote.Addr().AsSlice(), uint32(g.remote.Port())
	}
	p.ev.Time = g.time
	p.dns.Rcode, p.dns.Answers = codeName(m.rcode), m.answers
	p.count, p.cut = uint32(m.count), m.truncated
	p.dns.AnswerCount, p.dns.Truncated = &p.count, &p.cut
	if q.first != 0 && g.time >= q.first {
		p.latency = (g.time - q.first) / 1000
		p.dns.LatencyMicros = &p.latency
	}
	p.emit(q.segment.cgroup, &p.ev)
}

// settle charges a query that waits no more.
func (p *pairs) settle(q *query) {
	if !q.over {
		q.charged.Remove()
		p.done.Add(&q.charged, q.segment.cgroup, q.size(), q)
	}
}

// expire reports what has waited too long at a time.
func (p *pairs) expire(now uint64) {
	for q := p.queue.first; q != nil && q.first+uint64(timeout) <= now; q = p.queue.first {
		if q.answered && q.attempts == 1 {
			p.forget(q)
			continue
		}
		q.leave()
		p.lates.push(q)
		if !q.answered {
			p.settle(q)
			p.report(q, now, event.DnsOutcome_DNS_OUTCOME_TIMEOUT)
		}
	}
	for q := p.lates.first; q != nil && q.first+uint64(timeout+late) <= now; q = p.lates.first {
		p.forget(q)
	}
}

// overflow makes room: a query that waits is reported as it is.
func (p *pairs) overflow(cgroup uint64, q *query) {
	p.forget(q)
	p.lost(cgroup)
	if !q.reported {
		p.report(q, q.last, event.DnsOutcome_DNS_OUTCOME_PENDING)
	}
}

// flush reports the queries that wait, which go on waiting.
func (p *pairs) flush(now uint64) {
	for q := p.queue.first; q != nil; q = q.next {
		if !q.answered && !q.reported {
			p.report(q, now, event.DnsOutcome_DNS_OUTCOME_PENDING)
		}
	}
}

func (p *pairs) report(q *query, now uint64, outcome event.DnsOutcome) {
	q.reported, q.over = true, q.over || outcome == event.DnsOutcome_DNS_OUTCOME_TIMEOUT
	p.fill(q, outcome)
	p.ev.Time = now
	p.emit(q.segment.cgroup, &p.ev)
}

func (p *pairs) forget(q *query) {
	if p.waiting[q.key] == q {
		delete(p.waiting, q.key)
	}
	if p.byID[q.key.idKey] == q {
		delete(p.byID, q.key.idKey)
	}
	q.leave()
	q.charged.Remove()
	if len(p.free) < maxFree {
		p.free = append(p.free, q)
	}
}

// make returns a query to be filled.
func (p *pairs) make() *query {
	n := len(p.free)
	if n == 0 {
		return new(query)
	}
	q := p.free[n-1]
	p.free = p.free[:n-1]
	return q
}

// fill writes the event of a query, without its time and its answer.
func (p *pairs) fill(q *query, outcome event.DnsOutcome) {
	g, d := &q.segment, &p.dns
	p.src, p.dst = event.Endpoint{}, event.Endpoint{}
	own, far := &p.src, &p.dst
	d.Observed = event.Side_SIDE_SRC
	if g.flags&flagClient == 0 {
		own, far = far, own
		d.Observed = event.Side_SIDE_DST
	}
	own.Address, own.Port = g.local.Addr().AsSlice(), uint32(g.local.Port())
	far.Address, far.Port = g.remote.Addr().AsSlice(), uint32(g.remote.Port())
	own.Pid, own.Comm = g.pid, g.comm
	p.id = uint32(q.key.id)
	d.QueryId = &p.id
	d.Protocol = event.Protocol_PROTOCOL_UDP
	if g.tcp {
		d.Protocol = event.Protocol_PROTOCOL_TCP
	}
	d.Name, d.Type, d.Outcome, d.Attempts = q.name, typeName(q.key.kind), outcome, max(1, q.attempts)
	d.Rcode, d.Answers, d.AnswerCount, d.LatencyMicros, d.Truncated = "", "", nil, nil, nil
}
