package collect

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	src = 0
	dst = 1
)

// flow is one conversation with the halves of it that have come.
type flow struct {
	proto event.Protocol
	id    string // set at the first emission
	isn   isnPair
	ends  [2]end

	// The flags stand together: the struct just fits one of the allocator's size classes.
	indexed   bool // isn is known and finds this flow
	roleKnown bool // somebody knows for sure which end is src
	emitted   bool // its first event is out
	waited    bool // the second half had its chance
	closing   bool // one end has closed, and the timer runs for the other
	forced    bool // it runs no longer

	first      time.Time // when its first half came
	halfClosed time.Time // when closing began
	lastEmit   time.Time
	leader     *part // whose updates set the pace
	lastChange *part

	item    item
	timer   time.Time
	timerAt int // place in the timers, -1 outside

	newer, older *flow // in the list of open flows
}

// end is one end of a flow: the halves that its node sent. There is one, but for datagrams where one conversation shows
// under several addresses or was taken for closed in between.
type end struct {
	parts []*part
	isn   uint32 // TCP: the sequence number that it began with
	name  Name   // what its address says
	// folded sums up closed parts that are not held any more; nil: there are none.
	folded *folded
}

func (e *end) observed() bool { return len(e.parts) > 0 }

// closed reports whether all that is known of the end is over.
func (e *end) closed() bool {
	for _, p := range e.parts {
		if !p.closed {
			return false
		}
	}
	return true
}

// newest is the part that spoke last.
func (e *end) newest() *part {
	var n *part
	for _, p := range e.parts {
		if n == nil || p.ev.GetTime() >= n.ev.GetTime() {
			n = p
		}
	}
	return n
}

// part is a half: what one socket of one node says of a flow.
type part struct {
	key           partKey
	flow          *flow
	side          int
	local, remote addrPort
	ev            *event.Event // the newest
	start         uint64
	closed        bool
	viaService    bool // remote is a Service's address
	instance      uint64
	base          *event.Counters // what earlier tracers of the node have counted
	links         []link
	bytes         int // of ev
}

func newFlow(proto event.Protocol, now time.Time) *flow {
	f := &flow{proto: proto, first: now, timerAt: -1}
	f.item = item{flow: f, at: -1}
	return f
}

func (f *flow) both() bool { return f.ends[src].observed() && f.ends[dst].observed() }

// anyClosed and allClosed are about the observed ends.
func (f *flow) anyClosed() bool {
	return f.ends[src].observed() && f.ends[src].closed() || f.ends[dst].observed() && f.ends[dst].closed()
}

func (f *flow) allClosed() bool { return f.ends[src].closed() && f.ends[dst].closed() }

// swap makes src dst and dst src.
func (f *flow) swap() {
	f.ends[src], f.ends[dst] = f.ends[dst], f.ends[src]
	for side := range f.ends {
		for _, p := range f.ends[side].parts {
			p.side = side
		}
	}
}

// unindex forgets where to find the flow.
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

// setID gives the flow its name: of a TCP connection a mix of its sequence numbers, so that every viewer finds the
// same; else of the addresses and the beginning.
func (f *flow) setID() {
	h := fnv.New64a()
	var b [8]byte
	word := func(n uint64) {
		binary.BigEndian.PutUint64(b[:], n)
		h.Write(b[:])
	}
	word(uint64(f.proto))
	if f.indexed {
		word(uint64(f.isn.low)<<32 | uint64(f.isn.high))
	} else {
		p := f.ends[src].newest()
		local, remote := src, dst
		if p == nil {
			p = f.ends[dst].newest()
			local, remote = dst, src
		}
		var ends [2]addrPort
		ends[local], ends[remote] = p.local, p.remote
		for _, e := range ends {
			word(e.hi)
			word(e.lo)
			word(uint64(e.port))
		}
		word(p.start)
		word(p.key.cookie)
	}
	// FNV changes the low bits most: spread them, so that ids that are cut short still differ.
	n := h.Sum64()
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	binary.BigEndian.PutUint64(b[:], n^n>>31)
	f.id = hex.EncodeToString(b[:])
}

// flows is a list of open flows, the one that is unchanged for longest first.
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
	f.older = l.newest
	if l.newest != nil {
		l.newest.newer = f
	} else {
		l.oldest = f
	}
	l.newest = f
	l.n++
}

func (l *flows) remove(f *flow) {
	if f.older == nil && f.newer == nil && l.oldest != f {
		return
	}
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		l.oldest = f.newer
	}
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		l.newest = f.older
	}
	f.older, f.newer = nil, nil
	l.n--
}
