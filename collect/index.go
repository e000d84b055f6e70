package collect

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

// partKey identifies a half on its node: by the socket if its cookie is known, and by the addresses if one socket can
// hold several conversations.
type partKey struct {
	source        *Source
	cookie        uint64
	local, remote addrPort
	proto         event.Protocol
}

// isnPair holds the initial sequence numbers of a TCP connection, the smaller first, so that both ends have the same
// pair.
type isnPair struct{ low, high uint32 }

func newISNPair(a, b uint32) isnPair { return isnPair{min(a, b), max(a, b)} }

// endKey is an index key for halves of other protocols than TCP.
type endKey struct {
	proto event.Protocol
	end   addrPort
}

// index finds flows.
type index struct {
	parts map[partKey]*part
	isns  map[isnPair]*flow
	// Halves of other protocols than TCP by their own address and port and by their peer's. Both are also indexed by
	// address alone, the peer also by port alone.
	locals, remotes multimap
	// The halves whose peer is a Service, by their own address and port; also by address alone and by port alone.
	viaService multimap
}

func newIndex() index {
	return index{
		parts: map[partKey]*part{}, isns: map[isnPair]*flow{},
		locals: multimap{}, remotes: multimap{}, viaService: multimap{},
	}
}

func (x *index) add(p *part) {
	x.parts[p.key] = p
	if p.key.proto == event.Protocol_PROTOCOL_TCP {
		return
	}
	proto := p.key.proto
	p.links = make([]link, 0, 7)
	put := func(m multimap, end addrPort) {
		p.links = append(p.links, link{in: m, key: endKey{proto, end}, part: p})
		m.add(&p.links[len(p.links)-1])
	}
	put(x.locals, p.local)
	put(x.locals, p.local.ip())
	put(x.remotes, p.remote)
	put(x.remotes, p.remote.portOnly())
	if p.viaService {
		put(x.viaService, p.local)
		put(x.viaService, p.local.ip())
		put(x.viaService, p.local.portOnly())
	}
}

func (x *index) remove(p *part) {
	if x.parts[p.key] == p {
		delete(x.parts, p.key)
	}
	for i := range p.links {
		p.links[i].in.remove(&p.links[i])
	}
	p.links = nil
}

// multimap holds the halves of a key in a list, the newest first. Adding and removing take constant time, also for a
// server with thousands of halves.
type multimap map[endKey]*link

type link struct {
	in         multimap
	key        endKey
	part       *part
	prev, next *link
}

func (m multimap) add(l *link) {
	if head := m[l.key]; head != nil {
		l.next, head.prev = head, l
	}
	m[l.key] = l
}

func (m multimap) remove(l *link) {
	if l.next != nil {
		l.next.prev = l.prev
	}
	switch {
	case l.prev != nil:
		l.prev.next = l.next
	case l.next != nil:
		m[l.key] = l.next
	default:
		delete(m, l.key)
	}
	l.prev, l.next = nil, nil
}

// maxCandidates limits a search in a list.
const maxCandidates = 64

// find returns the newest half of a key that ok accepts.
func (m multimap) find(proto event.Protocol, end addrPort, ok func(*part) bool) *part {
	n := 0
	for l := m[endKey{proto, end}]; l != nil && n < maxCandidates; l = l.next {
		if ok(l.part) {
			return l.part
		}
		n++
	}
	return nil
}
