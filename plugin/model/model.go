// Package model aggregates a stream of events over the last seconds and minutes, by pod, workload, peer, name, syscall
// and other groups. The rows are events too (networkTop, dnsTop, syscallTop, gpuTop), so that tables, JSON, filters and
// sorting treat them as any event. Memory is bounded: series beyond the bound are counted as "others".
//
// The model keeps a series for each flow, DNS question or system call of a container, with its amounts in a ring buffer
// for each window. A row is the sum of the series of its group.
package model

import (
	"slices"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Topic is a subject of top: "network", "dns", "syscalls" or "gpu".
type Topic struct {
	Name string
	// Sources are the names of the event kinds that it counts.
	Sources []string
	// Row is the kind of its rows.
	Row *event.Kind
	// Groups are the possible groups of rows, the default first.
	Groups []*Group
	// Into is the order of drilling down: the rows of a group consist of rows of the next.
	Into []string
	// Sort is the default sort column, descending.
	Sort string
	// Lines are the lines of its charts.
	Lines []Line

	spec topicSpec
}

// Group is a way to group series into rows.
type Group struct {
	// Name is the word of --group, and that of the rows' group column.
	Name string
	// Doc describes one row in a few words.
	Doc string

	// Columns are the names of its tables' columns; nil: the default columns of the kind.
	Columns []string

	dims []dim
	// each: every series is a row.
	each  bool
	class class
	// inner, if not empty, is the group that its rows consist of, whatever the drill-down so far; nothing: none.
	inner string
	// lines, if not nil, replace the topic's Lines.
	lines []Line
}

// nothing is the inner group of a group whose rows are single series.
const nothing = "nothing"

// LinesOf returns the chart lines of a group's rows; nil is the topic as a whole.
func (t *Topic) LinesOf(g *Group) []Line {
	if g != nil && g.lines != nil {
		return g.lines
	}
	return t.Lines
}

// Inner returns the group that a drill-down from g shows, where used is the drill-down so far; nil at the end. A group
// that is smaller than a pod, or not in Into (a peer, a node), leads to pods first.
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

// Line is a line of a chart: an amount per second.
type Line struct {
	// Name is the label: "sent".
	Name string
	// Type is event.Bytes, event.Nanos, event.Count or event.Rate.
	Type event.Type
	// Unit replaces "per second" where the amount is no rate: " GPUs".
	Unit string

	measure int
	// known, if not 0, is the amount that counts how long the measure was known. Points are then the sum of each
	// series' share of that time, else the measure per second.
	known int
	// scale, if not 0, multiplies measure ÷ known; points are then no shares.
	scale float64
}

// windows are the lengths of windows; 0 is all since the start.
var windows = [...]time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 0}

// Windows returns the lengths that Query.Window may have, the shortest first; the last is 0, all since the start.
func Windows() []time.Duration { return slices.Clone(windows[:]) }

// Within restricts a query to the series of one row.
type Within struct {
	Group *Group
	Key   Key
}

// Key identifies a row of a group across queries.
type Key struct{ key rowKey }

// Query selects rows, their order and their window.
type Query struct {
	Group *Group
	// Window is one of Windows().
	Window time.Duration
	Within []Within
	// Match selects rows; nil: all. A row that fails to match with an error is omitted.
	Match func(*event.Event) (bool, error)
	// Sort is a JSON column of the topic's rows; nil: none. Ties are sorted by name.
	Sort *event.Column
	// Descending sorts the largest first. Unknown values are last in either order.
	Descending bool
	// Table.Rows begins at Offset and has at most Limit rows; 0: all.
	Offset, Limit int
}

// Table is the result of a Query at one time.
type Table struct {
	At time.Time
	// Covered is the time that the rows cover: the window, or less after the start.
	Covered time.Duration
	Rows    []Row
	// Matching counts the rows without Offset and Limit, All also without Match.
	Matching, All int
	// Others is the sum of the matching rows that are not in Rows; its Event is nil where there are none.
	Others Row
	// Total is the sum of all series, each counted once, whatever the group and Match.
	Total Row
	// Err is the first error that Match returned.
	Err error
}

// Row is the sum of a group's series with the same key.
type Row struct {
	Key   Key
	Event *event.Event
	// Trend is the sum of the topic's first two Lines per second, oldest first, in equal parts of the window (of the
	// last 5 minutes where the window is 0).
	Trend []float64
}

// Detail is the row of a query's Within with its time series and latencies.
type Detail struct {
	Row Row
	// Series has the points of each of the topic's Lines, one per second, newest last, for up to 5 minutes; NaN where
	// unknown. Points older than 10 s are means of 6 s, points older than a minute means of 30 s.
	Series [][]float64
	// Histogram counts the latencies in the window (network: the round-trip times of open flows).
	Histogram []Bucket
}

// Bucket counts the durations from From up to, but less than, To, ns.
type Bucket struct {
	From, To uint64
	Count    float64
}

// Edge is a client, a server, and the traffic between them in the window.
type Edge struct {
	From, To Party
	// BytesPerSecond counts both directions.
	BytesPerSecond float64
	Flows          int
	// Opened and Failed count connections in the window.
	Opened, Failed uint64
	Retransmits    uint64
	// SrttMicros is the mean of the smoothed round-trip times of the flows that are open or ended in the window; 0:
	// unknown.
	SrttMicros uint64
	// ResponseP99Micros is what 99 of 100 responses in the window did not exceed, as clients have them, or else as the
	// servers do; nil: there was none.
	ResponseP99Micros *uint64
}

// Party is one end of an Edge.
type Party struct {
	// Kind is "service", "workload", "pod", "node" or "external".
	Kind string
	// Name has the namespace where there is one: "shop/web".
	Name string
	// Port is the port of a called Service; 0 for all others, and where it is unknown.
	Port uint32
	// Note qualifies the name of a Service.
	Note event.ServiceNote
}

// Status is the state of the stream of events.
type Status struct {
	// Nodes are sorted by name.
	Nodes []NodeStatus
	// Losses are in the order of losses.Tally.
	Losses []losses.Loss
	// Events counts the events that the topic has used.
	Events uint64
	// PerSecond counts the events of each of the last 60 s, newest last.
	PerSecond []float64
	// Series counts the series that are kept, Folded those that were added to the others beyond the bound.
	Series, Folded int
}

// NodeStatus is the last state that a node's stream reported.
type NodeStatus struct {
	Name    string
	State   event.NodeState
	Message string
}

// Options bound a Model.
type Options struct {
	// MaxSeries bounds the flows, questions, … that are kept; 0: 131,072.
	MaxSeries int
	// Started is the start of the stream: rates exclude the time before.
	Started time.Time
	// Past: the events are a part of what agents have recorded. What a counter had counted before it was first seen, or
	// of a flow that began before the start, is not of any window.
	Past bool
}

// Model aggregates one stream of events for a topic. Its methods may be called from any goroutine.
type Model struct {
	topic *Topic

	mu sync.Mutex
	*store
	status status
}

// New returns an empty model of a topic.
func New(t *Topic, o Options) *Model {
	if o.Started.IsZero() {
		o.Started = time.Now()
	}
	return &Model{topic: t, store: newStore(&t.spec, o)}
}

// Topic returns the model's topic.
func (m *Model) Topic() *Topic { return m.topic }

// Add counts an event at a time: the viewer's clock, or the event's time in a recording. It ignores kinds other than
// the topic's sources, NodeStatus and Lost. It does not keep the event.
func (m *Model) Add(ev *event.Event, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := at.UnixNano()
	switch k := ev.GetKind().(type) {
	case *event.Event_NodeStatus:
		if k.NodeStatus.GetState() == event.NodeState_NODE_STATE_STREAMING && m.status.events == 0 {
			m.started = now // there are no earlier events
		}
		m.status.node(ev.GetNode(), k.NodeStatus)
		if k.NodeStatus.GetState() == event.NodeState_NODE_STATE_FAILED {
			m.forgetNode(ev.GetNode())
		}
	case *event.Event_Lost:
		m.status.losses.Add(losses.Of(ev))
	default:
		if m.spec.add(m.store, ev, now) {
			m.status.count(now)
		}
	}
}

// Begin sets the start of a stream that has not begun.
func (m *Model) Begin(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = at.UnixNano()
}

// Mark restarts the window 0: its rows count events from now on.
func (m *Model) Mark(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = now.UnixNano()
	m.each(func(l *series) {
		clear(l.total)
		if l.latencies != nil {
			clear(l.latencies.all[:])
		}
		if l.responses != nil {
			for _, ring := range l.responses.rings {
				if ring != nil {
					ring.all = times{}
				}
			}
		}
	})
}

// forgetNode ends the flows that only this node has reported: they get no further events.
func (m *Model) forgetNode(node string) {
	for _, l := range m.series {
		if l.live && l.pair.sides == 1 && l.pair.dims[0][dimNode].Value() == node {
			m.end(l)
		}
	}
}
