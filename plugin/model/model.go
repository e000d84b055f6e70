// Package model keeps what a screen shows of a stream of events: who did how much in the last seconds and minutes,
// counted together by pod, workload, peer, name, syscall, …. Events come in, rows come out, which are events too
// (networkTop, dnsTop, syscallTop, gpuTop), so that tables, JSON, filters and sorting treat them as all others. Its
// memory is bounded whatever comes in: what is beyond the bound is counted as "others".
//
// It keeps a series for each flow, question or system call of a container, with what it was counted to have done
// in rings of time. A row is the sum of series that have something in common.
package model

import (
	"slices"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Topic is what a screen is about: "network", "dns", "syscalls", "gpu".
type Topic struct {
	Name string
	// Sources are the kinds of events that it takes, by name.
	Sources []string
	// Row is the kind of its rows.
	Row *event.Kind
	// Groups are the ways to count together, the first one by default.
	Groups []*Group
	// Into is how one goes from large to small: rows of each group are made of those of the next.
	Into []string
	// Sort is the column that rows are sorted by by default, largest first.
	Sort string
	// Lines are what its charts show.
	Lines []Line

	spec topicSpec
}

// Group is a way to count together.
type Group struct {
	// Name is the word of --group, and that of the rows' group column.
	Name string
	// Doc says in a few words what one row is.
	Doc string

	// Columns are those that tables of it have, by name; nil: those of its kind.
	Columns []string

	dims []dim
	// each: every series is a row.
	each  bool
	class class
	// inner is the group that its rows are made of, whatever was gone into before; nothing: there is none.
	inner string
	// lines, if not nil, are what its charts show in place of the topic's.
	lines []Line
}

// nothing is what single things are made of.
const nothing = "nothing"

// LinesOf are the lines of the charts of a group's rows.
func (t *Topic) LinesOf(g *Group) []Line {
	if g != nil && g.lines != nil {
		return g.lines
	}
	return t.Lines
}

// Inner is what the rows of a group are made of, where used are the groups that were gone into; nil at the end. What is
// smaller than a pod, or not on the way from large to small (a peer, a node), is made of pods first.
func (t *Topic) Inner(g *Group, used []Within) *Group {
	if g.each || g.inner == nothing {
		return nil
	}
	if g.inner != "" {
		return t.GroupByName(g.inner)
	}
	open := func(name string) bool {
		return name != g.Name && !slices.ContainsFunc(used, func(w Within) bool { return w.Group.Name == name })
	}
	at, pod := slices.Index(t.Into, g.Name), slices.Index(t.Into, "pod")
	if (at < 0 || at > pod) && open("pod") {
		return t.GroupByName("pod")
	}
	for _, name := range t.Into[at+1:] {
		if open(name) {
			return t.GroupByName(name)
		}
	}
	return nil
}

// Line is a line of a chart: an amount a second.
type Line struct {
	// Name is for people: "sent".
	Name string
	// Type is event.Bytes, event.Nanos, event.Count or event.Rate.
	Type event.Type
	// Unit is what the amount is of where it is not a second's: " GPUs".
	Unit string

	measure int
	// known, if not 0, is the amount that says for how long the line's measure was known. Then points are shares of
	// that time, one for each series added up, else what the measure came to in a second.
	known int
	// scale, if not 0, is by what the measure over known is to be multiplied; it is no share then.
	scale float64
}

// Windows are the times that rows can be about; 0 is all since the beginning.
var Windows = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 0}

// Within is a row that was gone into: only what it counts.
type Within struct {
	Group *Group
	Key   Key
}

// Key identifies a row of a group. It stays the same from one answer to the next.
type Key struct{ key rowKey }

// Query is what rows are asked for.
type Query struct {
	Group *Group
	// Window is one of Windows.
	Window time.Duration
	Within []Within
	// Match chooses rows; nil: all. An error is that of a row, which is then left away.
	Match func(*event.Event) (bool, error)
	// Sort is a column in JSON of the topic's rows; nil: none. Ties are broken by name.
	Sort *event.Column
	// Descending sorts the largest first. What is not known comes last either way.
	Descending bool
	// Rows from Offset on are made, Limit of them at most; 0: all.
	Offset, Limit int
}

// Table is the rows of one moment.
type Table struct {
	At time.Time
	// Covered is the time that the rows are about: the window, or less in the beginning.
	Covered time.Duration
	Rows    []Row
	// Matching is how many rows there are, beyond Limit too; All how many there would be without Match.
	Matching, All int
	// Rest is the sum of the rows that match and are not in Rows; its Event is nil where there are none.
	Rest Row
	// Total is the sum of all, each thing counted once, whatever the group and Match.
	Total Row
	// Err is the first error of Match.
	Err error
}

// Row is one line.
type Row struct {
	Key   Key
	Event *event.Event
	// Trend is what the topic's first two Lines came to a second, oldest first, in equal parts of the window (of the
	// last 5 minutes where the window is 0).
	Trend []float64
}

// Detail is all that is known of what a query's Within is.
type Detail struct {
	Row Row
	// Series has the points of each of the topic's Lines, a second apiece, newest last, of the last 5 minutes at most;
	// NaN where it was not known. Older ones are means of 6 s, and beyond a minute of 30 s.
	Series [][]float64
	// Histogram is of the latencies in the window (network: of the round-trip times of the live flows); empty where
	// there are none.
	Histogram []Bucket
}

// Bucket counts what took from From on but less than To, ns.
type Bucket struct {
	From, To uint64
	Count    float64
}

// Edge is who calls whom: a client, a server, and what went between them in the window.
type Edge struct {
	From, To Party
	// Bytes a second, both ways.
	BytesPerSecond float64
	Flows          int
	// Opened and Failed are connections in the window.
	Opened, Failed uint64
	Retransmits    uint64
	// SrttMicros is the mean of the smoothed round-trip times of the flows that live or ended in the window; 0: not
	// known.
	SrttMicros uint64
}

// Party is an end of an Edge.
type Party struct {
	// Kind is "service", "workload", "pod", "node" or "external".
	Kind string
	// Name is with its namespace where it has one: "shop/web".
	Name string
	// Port is the one a Service was called at; 0 for all else, and where it is not known.
	Port uint32
	// Note restricts what is known of a Service.
	Note event.ServiceNote
}

// Status is what is known of the stream itself.
type Status struct {
	// Nodes by name.
	Nodes []NodeStatus
	// Losses as losses.Tally sorts them.
	Losses []losses.Loss
	// Events is how many were counted.
	Events uint64
	// PerSecond is the events of each of the last 60 s, newest last.
	PerSecond []float64
	// Leaves is how many things are kept; Folded how many were counted into others for want of room.
	Series, Folded int
}

// NodeStatus is a node's.
type NodeStatus struct {
	Name    string
	State   event.NodeState
	Message string
}

// Options are the bounds.
type Options struct {
	// MaxLeaves is how many flows, questions, … are kept at most; 0: 131,072.
	MaxSeries int
	// Started is when the stream began: rates are not of any time before.
	Started time.Time
}

// Model is what Topic says, of one stream. Its methods may be called from any goroutine.
type Model struct {
	topic *Topic

	mu sync.Mutex
	*store
	status status
}
