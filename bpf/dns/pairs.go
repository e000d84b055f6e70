package dns

import (
	"net/netip"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// timeout is how long a query waits for its answer before it is reported without.
	timeout = 5 * time.Second
	// late is how long after that an answer is still taken for its own.
	late = 25 * time.Second
	// maxPending is how many queries wait at a time. When there are more, the oldest is reported as it is.
	maxPending = 16384
)

// pairs joins queries and their answers.
type pairs struct {
	waiting map[pairKey]*query
	// queue has the queries in the order of their deadlines, all of which are equally long.
	queue []*query
	// lates are those that were reported without an answer.
	lates []*query
	emit  func(cgroup uint64, ev *event.Event)

	ev       event.Event
	dns      event.Dns
	src, dst event.Endpoint
	latency  uint64
	count    uint32
	cut      bool
}

// pairKey is what an answer has in common with its query. A client's socket has but one query with it; a server's one for each
// client.
type pairKey struct {
	cookie uint64
	client netip.AddrPort // of a server's socket
	id     uint16
	kind   uint16
	name   string // in lower case
}

// query is one that waits.
type query struct {
	key         pairKey
	segment     segment // without data
	name        string  // as it was asked
	first, last uint64  // ns since the Unix epoch
	attempts    uint32
	answered    bool
	// told says that it was reported as pending, over that it was as timed out.
	told, over bool
}

func newPairs(emit func(uint64, *event.Event)) *pairs {
	p := &pairs{waiting: map[pairKey]*query{}, emit: emit}
	p.ev.Kind = &event.Event_Dns{Dns: &p.dns}
	p.dns.Src, p.dns.Dst = &p.src, &p.dst
	return p
}

// add takes a message and the segment that its last byte came in.
func (p *pairs) add(g *segment, m *message) {
	k := pairKey{cookie: g.cookie, id: m.id, kind: m.kind, name: strings.ToLower(m.name)}
	client := g.flags&flagClient != 0
	if !client {
		k.client = g.remote
	}
	if m.response == (client == (g.flags&flagOut != 0)) {
		return // an answer that goes the way of a query, or the reverse: neither is one
	}
	if m.response {
		p.answer(g, k, m)
		return
	}
	if q := p.waiting[k]; q != nil && !q.over {
		q.attempts++
		q.last = g.time
		return
	}
	if len(p.queue) >= maxPending {
		p.overflow()
	}
	q := &query{key: k, segment: *g, name: m.name, first: g.time, last: g.time, attempts: 1}
	q.segment.data = nil
	p.waiting[k] = q
	p.queue = append(p.queue, q)
}

func (p *pairs) answer(g *segment, k pairKey, m *message) {
	q := p.waiting[k]
	if q == nil && !m.question {
		q = p.withoutQuestion(k)
	}
	if q == nil {
		// Its query is older than the trace.
		q = &query{segment: *g, name: m.name}
		q.key.kind = m.kind
	} else {
		q.answered = true
		delete(p.waiting, q.key)
	}
	p.fill(q, event.DnsOutcome_DNS_OUTCOME_ANSWERED)
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

// withoutQuestion finds the query of an answer that does not repeat the question. It is rare, and so is looked for.
func (p *pairs) withoutQuestion(k pairKey) *query {
	for _, q := range p.waiting {
		if q.key.cookie == k.cookie && q.key.client == k.client && q.key.id == k.id {
			return q
		}
	}
	return nil
}

// expire reports what has waited too long at a time.
func (p *pairs) expire(now uint64) {
	for len(p.queue) > 0 {
		q := p.queue[0]
		if !q.answered && q.first+uint64(timeout) > now {
			break
		}
		p.queue[0] = nil
		p.queue = p.queue[1:]
		if q.answered {
			continue
		}
		p.tell(q, now, event.DnsOutcome_DNS_OUTCOME_TIMEOUT)
		p.lates = append(p.lates, q)
	}
	for len(p.lates) > 0 {
		q := p.lates[0]
		if !q.answered && q.first+uint64(timeout+late) > now && len(p.lates) <= maxPending {
			break
		}
		p.lates[0] = nil
		p.lates = p.lates[1:]
		p.forget(q)
	}
}

func (p *pairs) overflow() {
	q := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	if !q.answered {
		p.tell(q, q.last, event.DnsOutcome_DNS_OUTCOME_PENDING)
		p.forget(q)
	}
}

// flush reports the queries that wait, which go on waiting.
func (p *pairs) flush(now uint64) {
	for _, q := range p.queue {
		if !q.answered && !q.told {
			p.tell(q, now, event.DnsOutcome_DNS_OUTCOME_PENDING)
		}
	}
}

func (p *pairs) tell(q *query, now uint64, outcome event.DnsOutcome) {
	q.told, q.over = true, q.over || outcome == event.DnsOutcome_DNS_OUTCOME_TIMEOUT
	p.fill(q, outcome)
	p.ev.Time = now
	p.emit(q.segment.cgroup, &p.ev)
}

func (p *pairs) forget(q *query) {
	if p.waiting[q.key] == q {
		delete(p.waiting, q.key)
	}
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
	d.Protocol = event.Protocol_PROTOCOL_UDP
	if g.tcp {
		d.Protocol = event.Protocol_PROTOCOL_TCP
	}
	d.Name, d.Type, d.Outcome, d.Attempts = q.name, typeName(q.key.kind), outcome, max(1, q.attempts)
	d.Rcode, d.Answers, d.AnswerCount, d.LatencyMicros, d.Truncated = "", "", nil, nil, nil
}
