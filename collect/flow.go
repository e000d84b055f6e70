package collect

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	src = 0
	dst = 1
)

// flow is one conversation with its known halves.
type flow struct {
	proto event.Protocol
	id    string // set at the first emission
	isn   isnPair
	ends  [2]end

	// The flags stand together: the struct just fits one of the allocator's size classes.
	indexed   bool // isn is known and finds this flow
	roleKnown bool // a half is certain which end is src
	emitted   bool // its first event is out
	waited    bool // the wait for the second half is over
	closing   bool // one end has closed, and the timer runs for the other
	forced    bool // that timer has expired

	first      instant // when its first half arrived
	halfClosed instant // when the first end closed, or all that are known
	lastEmit   instant
	leader     *part // the part whose updates set the pace
	lastChange *part

	item    item
	timer   instant
	timerAt int // place in the timers, -1 outside

	next, prev *flow // in the list of open flows
}

// end is one end of a flow: the halves that its node sent. Usually one; several for datagrams, where a conversation
// uses several addresses or was reported as closed in between.
type end struct {
	parts []*part
	isn   uint32 // TCP: its initial sequence number
	name  *Name  // names of its address, shared with other flows
	// folded is the sum of closed parts that are no longer held; nil: there are none.
	folded *folded
}

func (e *end) observed() bool { return len(e.parts) > 0 }

// closed reports whether all parts of the end are closed.
func (e *end) closed() bool {
	for _, p := range e.parts {
		if !p.closed {
			return false
		}
	}
	return true
}

// newest returns the part with the newest event.
func (e *end) newest() *part {
	var n *part
	for _, p := range e.parts {
		if n == nil || p.report.time >= n.report.time {
			n = p
		}
	}
	return n
}

// part is a half: the reports of one socket of one node about a flow.
type part struct {
	socket        socket
	flow          *flow
	local, remote addrPort
	report        report // the newest
	start         uint64
	instance      uint64
	base          *counters // of earlier tracers of the node
	links         *links    // nil: of a TCP socket, or not indexed
	bytes         int32     // of the part
	side          uint8
	closed        bool
	viaService    bool // remote is a Service's address
}

// key is the key of the part in the index.
func (p *part) key() partKey { return p.socket.key(p.local, p.remote) }

func newFlow(proto event.Protocol, now instant) *flow {
	f := &flow{proto: proto, first: now, timerAt: -1}
	f.ends[src].name, f.ends[dst].name = &noName, &noName
	f.item = item{flow: f, at: -1}
	return f
}

func (f *flow) both() bool { return f.ends[src].observed() && f.ends[dst].observed() }

// anyClosed and allClosed are about the observed ends.
func (f *flow) anyClosed() bool {
	return f.ends[src].observed() && f.ends[src].closed() || f.ends[dst].observed() && f.ends[dst].closed()
}

func (f *flow) allClosed() bool { return f.ends[src].closed() && f.ends[dst].closed() }

// missing returns the side of the second half, where only one is known.
func (f *flow) missing() int {
	if f.ends[src].observed() {
		return dst
	}
	return src
}

// swap makes src dst and dst src.
func (f *flow) swap() {
	f.ends[src], f.ends[dst] = f.ends[dst], f.ends[src]
	for side := range f.ends {
		for _, p := range f.ends[side].parts {
			p.side = uint8(side)
		}
	}
}

// unindex removes the flow from the index.
func (f *flow) unindex(x *index) {
	if f.indexed && x.isns[f.isn] == f {
		delete(x.isns, f.isn)
	}
	for i := range f.ends {
		for _, p := range f.ends[i].parts {
			x.remove(p)
		}
	}
}

// setID sets the flow's id.
func (f *flow) setID() {
	if f.indexed {
		f.id = connectionID(f.isn)
		return
	}
	p := f.ends[src].newest()
	local, remote := src, dst
	if p == nil {
		p = f.ends[dst].newest()
		local, remote = dst, src
	}
	var ends [2]addrPort
	ends[local], ends[remote] = p.local, p.remote
	f.id = conversationID(f.proto, ends, p.start, p.socket.cookie)
}

// connectionID is a hash of a TCP connection's initial sequence numbers, so that every viewer gets the same id.
func connectionID(isn isnPair) string {
	return event.HashID(uint64(event.Protocol_PROTOCOL_TCP), uint64(isn.low)<<32|uint64(isn.high))
}

// conversationID is a hash of the addresses and the start.
func conversationID(proto event.Protocol, ends [2]addrPort, start, cookie uint64) string {
	return event.HashID(uint64(proto), ends[src].hi, ends[src].lo, uint64(ends[src].port), ends[dst].hi, ends[dst].lo,
		uint64(ends[dst].port), start, cookie)
}

// flows is a list of open flows, the longest unchanged one first.
type flows struct {
	oldest, newest *flow
	n              int
}

// touch puts f at the end of the list.
func (l *flows) touch(f *flow) {
	if l.newest == f {
		return
	}
	l.remove(f)
	f.prev = l.newest
	if l.newest != nil {
		l.newest.next = f
	} else {
		l.oldest = f
	}
	l.newest = f
	l.n++
}

func (l *flows) remove(f *flow) {
	if f.prev == nil && f.next == nil && l.oldest != f {
		return
	}
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.oldest = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	} else {
		l.newest = f.prev
	}
	f.prev, f.next = nil, nil
	l.n--
}
