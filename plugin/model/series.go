package model

import (
	"unique"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// dim names a property that series can have in common.
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

// text is a string of which there is one, however many series have it; it goes when the last of them does.
type text = unique.Handle[string]

// none is an unknown dimension, or one in which series differ.
var none = unique.Make("")

// dimensions are the properties of a series as seen from one end.
type dimensions [dims]text

func noDimensions() (f dimensions) {
	for i := range f {
		f[i] = none
	}
	return f
}

func (f *dimensions) set(d dim, s string) { f[d] = unique.Make(s) }

// identity distinguishes endpoint pairs.
type identity struct {
	dims     [2]dimensions // of each side
	sides    uint8         // the used elements of dims: 1 or 2
	flipped  bool          // the first side is the server's
	protocol event.Protocol
	// echo: the other end counts the connection as well.
	echo  bool
	class class
	// server is the called end: connections to two ports of a Service, or to two Services of one pod, are separate.
	server party
}

// class distinguishes series that are not counted together: rows of a group are of series of one class.
type class uint8

const (
	_ class = iota // what the topic is about
	// classProcess is a process on GPUs.
	classProcess
)

// endpointPair is what several series have in common: the flows between two processes.
type endpointPair struct {
	identity
	client party
	// closedTotals counts what has no series of its own: closed flows, failed connections.
	closedTotals *series
}

type party struct {
	kind, name text
	// port is the one a Service was called at; 0 for all else, and where it is not known.
	port uint32
	note event.ServiceNote
}

// nobody is the server of series without one.
var nobody = party{kind: none, name: none}

// maxAmounts bounds the amounts of a topic.
const maxAmounts = 28

// series is the counters of a flow, a question, a system call or a GPU.
type series struct {
	pair *endpointPair
	id   string
	// live: it is a flow that has not ended.
	live bool
	// srttMicros is its newest; 0: not known.
	srttMicros uint32
	// seen is the numbers of the last event: they are cumulative.
	seen [3]uint64
	// signature changes when an event names its ends in another way.
	signature int
	// last is when something was counted last, ns.
	last  int64
	total []uint64

	ring      *ring
	latencies *latencies
	responses *responses
	counted   []uint64 // the histogram of the last event
	gauge     *gauge   // top gpu: what was last seen of a GPU
	process   *process // top gpu: of a process
}

// add counts amounts at a time.
func (l *series) add(now int64, width int, amounts [maxAmounts]uint64) {
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

// merge adds what another series has counted.
func (l *series) merge(other *series, width int) {
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
	l.mergeResponses(other)
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
