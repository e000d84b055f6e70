package collect

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

// socket is the socket of a half. Its cookie may be unknown: 0.
type socket struct {
	source *Source
	cookie uint64
	proto  event.Protocol
}

func (s socket) tcp() bool { return s.proto == event.Protocol_PROTOCOL_TCP }

// partKey identifies a half on its node: by the socket if its cookie is known, and by the addresses if one socket can
// hold several conversations.
type partKey struct {
	source        *Source
	cookie        uint64
	local, remote addrPort
	proto         event.Protocol
}

// key returns the key of a half of a socket.
func (s socket) key(local, remote addrPort) partKey {
	k := partKey{source: s.source, cookie: s.cookie, proto: s.proto}
	if !s.isKey() {
		k.local, k.remote = local, remote
	}
	return k
}

// isKey reports whether the socket alone identifies a half.
func (s socket) isKey() bool { return s.tcp() && s.cookie != 0 }

// connectionKey is the key of a half that its socket identifies, half as large as a partKey.
type connectionKey struct {
	source *Source
	cookie uint64
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
	connections map[connectionKey]*part
	parts       map[partKey]*part // all others
	isns        map[isnPair]*flow
	// Halves of other protocols than TCP by their own address and port and by their peer's. Both are also indexed by
	// address alone, the peer also by port alone.
	locals, remotes multimap
	// The halves whose peer is a Service, by their own address and port; also by address alone and by port alone.
	viaService multimap
}

func newIndex() index {
	return index{
		connections: map[connectionKey]*part{}, parts: map[partKey]*part{}, isns: map[isnPair]*flow{},
		locals: multimap{}, remotes: multimap{}, viaService: multimap{},
	}
}

// find returns the half of a socket.
func (x *index) find(s socket, local, remote addrPort) *part {
	if s.isKey() {
		return x.connections[connectionKey{s.source, s.cookie}]
	}
	return x.parts[s.key(local, remote)]
}

func (x *index) add(p *part) {
	if p.socket.isKey() {
		x.connections[connectionKey{p.socket.source, p.socket.cookie}] = p
		return
	}
	x.parts[p.key()] = p
	if p.socket.tcp() {
		return
	}
	proto := p.socket.proto
	p.links = new(links)
	put := func(m multimap, end addrPort) {
		l := &p.links.all[p.links.n]
		*l = link{in: m, key: endKey{proto, end}, part: p}
		p.links.n++
		m.add(l)
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
	if p.socket.isKey() {
		if key := (connectionKey{p.socket.source, p.socket.cookie}); x.connections[key] == p {
			delete(x.connections, key)
		}
		return
	}
	if key := p.key(); x.parts[key] == p {
		delete(x.parts, key)
	}
	if p.links == nil {
		return
	}
	for i := range p.links.n {
		l := &p.links.all[i]
		l.in.remove(l)
	}
	p.links = nil
}

// multimap holds the halves of a key in a list, the newest first. Adding and removing take constant time, also for a
// server with thousands of halves.
type multimap map[endKey]*link

// links are the places of a half in the lists.
type links struct {
	all [7]link
	n   int
}

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
