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
	// maxPending is how many queries wait at a time. When there are more, the oldest is reported as it is, and counted: its answer
	// will find no query.
	maxPending = 16384
)

// pairs joins queries and their answers.
type pairs struct {
	waiting map[pairKey]*query
	// byID finds them without the question, which answers such as FORMERR may leave out: the newest of each.
	byID map[idKey]*query
	// queue has the queries in the order of their deadlines, all of which are equally long; those that were answered stay as well, for
	// an answer that comes twice. live is how many were not.
	queue []*query
	live  int
	// lates are those that may still get an answer: they were reported without one, or asked more than once.
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
	idKey
	kind uint16
	name string // in lower case
}

type idKey struct {
	cookie uint64
	client netip.AddrPort // of a server's socket
	id     uint16
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
	p := &pairs{waiting: map[pairKey]*query{}, byID: map[idKey]*query{}, emit: emit}
	p.ev.Kind = &event.Event_Dns{Dns: &p.dns}
	p.dns.Src, p.dns.Dst = &p.src, &p.dst
	return p
}

// add takes a message and the segment that its last byte came in. It gives false where another query had to make room.
func (p *pairs) add(g *segment, m *message) bool {
	k := pairKey{idKey: idKey{cookie: g.cookie, id: m.id}, kind: m.kind, name: strings.ToLower(m.name)}
	client := g.flags&flagClient != 0
	if !client {
		k.client = g.remote
	}
	if m.response == (client == (g.flags&flagOut != 0)) {
		return true // an answer that goes the way of a query, or the reverse: neither is one
	}
	if m.response {
		p.answer(g, k, m)
		return true
	}
	if q := p.waiting[k]; q != nil && !q.over && !q.answered {
		q.attempts++
		q.last = g.time
		return true
	}
	room := p.live < maxPending
	if !room {
		p.overflow()
	}
	if len(p.queue) >= 2*maxPending {
		p.compact()
	}
	q := &query{key: k, segment: *g, name: m.name, first: g.time, last: g.time, attempts: 1}
	q.segment.data = nil
	p.waiting[k], p.byID[k.idKey] = q, q
	p.queue = append(p.queue, q)
	p.live++
	return room
}

func (p *pairs) answer(g *segment, k pairKey, m *message) {
	q := p.waiting[k]
	if q == nil && !m.question {
		q = p.byID[k.idKey]
	}
	if q == nil {
		// Its query is older than the trace.
		q = &query{segment: *g, name: m.name}
		q.key.kind = m.kind
	} else if q.answered {
		return // the answer to a repetition
	} else {
		q.answered = true
		if !q.over {
			p.live--
		}
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

// expire reports what has waited too long at a time.
func (p *pairs) expire(now uint64) {
	for len(p.queue) > 0 {
		q := p.queue[0]
		if q.first+uint64(timeout) > now {
			break
		}
		p.queue[0] = nil
		p.queue = p.queue[1:]
		switch {
		case !q.answered:
			p.live--
			p.tell(q, now, event.DnsOutcome_DNS_OUTCOME_TIMEOUT)
		case q.attempts == 1:
			p.forget(q)
			continue
		}
		p.lates = append(p.lates, q)
	}
	for len(p.lates) > 0 {
		q := p.lates[0]
		if q.first+uint64(timeout+late) > now && len(p.lates) <= maxPending {
			break
		}
		p.lates[0] = nil
		p.lates = p.lates[1:]
		p.forget(q)
	}
}

// overflow makes room: the oldest query that waits is reported as it is.
func (p *pairs) overflow() {
	for len(p.queue) > 0 {
		q := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.forget(q)
		if !q.answered {
			p.live--
			if !q.told {
				p.tell(q, q.last, event.DnsOutcome_DNS_OUTCOME_PENDING)
			}
			return
		}
	}
}

// compact forgets the queries that were answered.
func (p *pairs) compact() {
	kept := p.queue[:0]
	for _, q := range p.queue {
		if q.answered {
			p.forget(q)
		} else {
			kept = append(kept, q)
		}
	}
	clear(p.queue[len(kept):])
	p.queue = kept
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
	if p.byID[q.key.idKey] == q {
		delete(p.byID, q.key.idKey)
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
