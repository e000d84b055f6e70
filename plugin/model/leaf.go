package model

import (
	"unique"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// dim is something that leaves can have in common.
type dim uint8

const (
	dimNamespace dim = iota
	dimPod
	dimContainer
	dimWorkload
	dimNode
	dimPeer
	dimProcess
	dimName // question, system call
	dimType
	dims
)

// text is a string of which there is one, however many leaves have it; it goes when the last of them does.
type text = unique.Handle[string]

// none stands for what is not known, or not the same.
var none = unique.Make("")

// face is how a leaf looks from one end.
type face [dims]text

func blank() (f face) {
	for i := range f {
		f[i] = none
	}
	return f
}

func (f *face) set(d dim, s string) { f[d] = unique.Make(s) }

// identity is what tells leaves apart that are counted together.
type identity struct {
	faces    [2]face
	sides    uint8 // how many of faces there are
	flipped  bool  // the first face is that of the end that answered
	protocol event.Protocol
	// echo: the other end was counted as well.
	echo  bool
	class class
	// server is the end that was called: connections to two ports of a Service, or to two Services of one pod, are
	// counted apart.
	server party
}

// class tells leaves apart that are not counted together: rows of a group are of leaves of one class.
type class uint8

const (
	_ class = iota // what the topic is about
	// classProcess is a process on GPUs.
	classProcess
)

// who is what several leaves have in common: the flows between two processes.
type who struct {
	identity
	client party
	// rest is the leaf of what has no leaf of its own: flows that are over, connections that came to nothing.
	rest *leaf
}

type party struct {
	kind, name text
	// port is the one a Service was called at; 0 for all else, and where it is not known.
	port uint32
	note event.ServiceNote
}

// nobody is the end of rows that have none.
var nobody = party{kind: none, name: none}

// maxAmounts is how many amounts a topic counts at most.
const maxAmounts = 28

// leaf is the least that is counted.
type leaf struct {
	who *who
	id  string
	// live: it is a flow that has not ended.
	live bool
	// srttMicros is its newest; 0: not known.
	srttMicros uint32
	// seen is what the last event said: events tell sums.
	seen [3]uint64
	// signature changes when an event names its ends in another way.
	signature int
	// last is when something was counted last, ns.
	last  int64
	total []uint64

	ring      *ring
	latencies *latencies
	counted   []uint64 // the histogram that the last event told
	gauge     *gauge   // top gpu: what was last seen of a GPU
	process   *process // top gpu: of a process
}

// add counts amounts at a time.
func (l *leaf) add(now int64, width int, amounts [maxAmounts]uint64) {
	var cells [maxAmounts]float32
	any := false
	if l.total == nil {
		l.total = make([]uint64, width)
	}
	for i, a := range amounts[:width] {
		l.total[i] += a
		cells[i] = float32(a)
		any = any || a != 0
	}
	l.last = max(l.last, now)
	if !any {
		return
	}
	if l.ring == nil {
		l.ring = newRing(width)
	}
	l.ring.add(now, cells[:width])
}

// take adds what another leaf has counted.
func (l *leaf) take(other *leaf, width int) {
	if l.total == nil {
		l.total = make([]uint64, width)
	}
	for i, n := range other.total {
		l.total[i] += n
	}
	l.last = max(l.last, other.last)
	if other.ring != nil {
		if l.ring == nil {
			l.ring = newRing(width)
		}
		l.ring.merge(other.ring)
	}
	if other.latencies != nil {
		if l.latencies == nil {
			l.latencies = new(latencies)
		}
		l.latencies.merge(other.latencies)
	}
}

func (l *latencies) merge(other *latencies) {
	for i, n := range other.all {
		l.all[i] += n
	}
	for w := range other.parts {
		newest := max(l.newest[w], other.newest[w])
		l.roll(w, newest)
		for n := max(newest-latencyParts+1, other.newest[w]-latencyParts+1); n <= other.newest[w]; n++ {
			for i, c := range other.parts[w][n%latencyParts] {
				l.parts[w][n%latencyParts][i] += c
			}
		}
	}
}
