package model

import (
	"cmp"
	"slices"
	"time"
)

// Edges returns the clients and the servers they call, the busiest first; none where the topic has no calls.
func (m *Model) Edges(window time.Duration, now time.Time) []Edge {
	m.mu.Lock()
	defer m.mu.Unlock()
	type ends struct{ from, to party }
	covered := newQueryWindow(m.store, m.topic.Lines, windowIndex(window), now.UnixNano())
	sums := map[ends]*sum{}
	m.each(func(l *series) {
		w := l.pair
		if w.echo || w.client.name == none || w.server.name == none {
			return
		}
		key := ends{w.client, w.server}
		s := sums[key]
		if s == nil {
			s = &sum{window: covered}
			sums[key] = s
		}
		s.add(l, 0) // with the response times of one end
		other := serverEnd
		if w.flipped {
			other = clientEnd
		}
		s.addResponses(l, other)
	})
	var all []Edge
	for key, s := range sums {
		if s.live == 0 && s.idle() {
			continue
		}
		e := Edge{
			From: key.from.party(), To: key.to.party(), BytesPerSecond: s.perSecond(sent) + s.perSecond(received),
			Flows:  s.live,
			Opened: whole(s.amounts[opened]), Failed: whole(s.amounts[failed]),
			Retransmits: whole(s.amounts[retransmits]),
		}
		e.SrttMicros = s.meanSrtt()
		e.ResponseP99Micros = s.responseP99()
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(b.BytesPerSecond, a.BytesPerSecond), cmp.Compare(a.From.Name, b.From.Name),
			cmp.Compare(a.To.Name, b.To.Name),
			cmp.Compare(a.From.Kind, b.From.Kind), cmp.Compare(a.To.Kind, b.To.Kind), cmp.Compare(a.To.Port, b.To.Port))
	})
	return all
}

func (p party) party() Party {
	return Party{Kind: p.kind.Value(), Name: p.name.Value(), Port: p.port, Note: p.note}
}
