// Package past reads events back from VictoriaLogs, where agents' export has put them (docs/history.md).
//
// The store is not trusted: its rows are bounded in number and size, and what is no event of orb8 is counted and left
// out. Users have no right on the store. The caller says in the Selection what to read, and still has to check what it
// gets: conditions of a query save work, and protect nothing.
package past

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Options configure a Store.
type Options struct {
	// URL is that of VictoriaLogs, http://victorialogs.monitoring:9428, or of what stands before it.
	URL string
	// Credentials is a directory with what the store requires, as far as it does: headers, with a line "name: value"
	// for each header of requests; token, a bearer token; ca.crt, the authority of the store's certificate; tls.crt
	// and tls.key, a client certificate. Empty: none.
	Credentials string
	// Resource are attributes that the resource of records must have, such as k8s.cluster.name where several clusters
	// share a store.
	Resource map[string]string
	// UserAgent names the program.
	UserAgent string
	Log       *slog.Logger
}

// Store is a VictoriaLogs.
type Store struct {
	o    Options
	base *url.URL
	http transports
	// maxPage is maxPage, and less in tests.
	maxPage int
}

// Open checks the URL. Files are read for each request: a Secret that is missing is an error of queries, not of
// servers.
func Open(o Options) (*Store, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil ||
		base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("%q: want a URL such as http://victorialogs.monitoring:9428, without user, query and "+
			"fragment", o.URL)
	}
	s := &Store{o: o, base: base.JoinPath("select", "logsql", "query"), maxPage: maxPage}
	if _, _, err := s.http.get(&s.o); err != nil && o.Log != nil {
		// It may come later: servers answer for the agents meanwhile.
		o.Log.Warn("the history store cannot be read", "err", err)
	}
	return s, nil
}

// Selection selects events. All of its fields have to match; an empty list selects all.
type Selection struct {
	// Since and Until are ns since the Unix epoch; Since is 0 for the oldest event.
	Since, Until uint64
	// Kinds are JSON names. Losses and states of nodes are always read.
	Kinds []string
	// Namespaces, Pods or Workloads, and Container are of the observed pod. Events without a namespace, as of a node's
	// GPU, are always read.
	Namespaces, Pods, Workloads []string
	Container                   string
	Node                        string
	// Cuts are the times from which on a node's events are not wanted.
	Cuts map[string]uint64
	// Newest limits the events to the newest; 0: all.
	Newest int
	// Hold takes how many bytes the newest events hold together, before they are passed on. An error ends the read.
	Hold func(bytes int) error
}

// Report says what was read.
type Report struct {
	// Rows are those that were passed on; Bad those that were to be events and are not readable, Foreign others.
	Rows, Bad, Foreign uint64
	// Truncated: there are more events than the newest.
	Truncated bool
}

const (
	// firstTimeout is how long the store may take to begin an answer, idleTimeout between two parts of it.
	firstTimeout = 10 * time.Second
	idleTimeout  = 10 * time.Second
	// maxLine limits a row, maxRows and maxBytes an answer as a whole.
	maxLine  = 256 << 10
	maxRows  = 5_000_000
	maxBytes = 8 << 30
	// maxPage is how many rows the store has to sort at a time, minStep the shortest time that is divided by that.
	maxPage = 20_000
	minStep = 10 * time.Millisecond
	// maxBuckets limits the parts of a time that rows are counted in.
	maxBuckets = 250
	// maxSegments limits the parts of the time with different nodes.
	maxSegments = 16
	// maxNodes limits the nodes of an answer.
	maxNodes = 10_000
)

// read is one call of Read.
type read struct {
	*Store
	ctx    context.Context
	s      *Selection
	kinds  map[string]bool // by the name of records
	yield  func(*event.Event) error
	report Report
	lines  int
	bytes  int64
	nodes  map[string]struct{}
	row    row
}

// Read passes the selected events on, oldest first. The report is valid also with an error.
func (s *Store) Read(ctx context.Context, sel *Selection, yield func(*event.Event) error) (Report, error) {
	r := &read{Store: s, ctx: ctx, s: sel, kinds: map[string]bool{}, yield: yield, nodes: map[string]struct{}{}}
	for _, f := range formsOf(sel.Kinds) {
		r.kinds[f] = true
	}
	err := r.run()
	return r.report, err
}

func (r *read) run() error {
	since := r.s.Since
	if since == 0 {
		var err error
		if since, err = r.oldest(); err != nil || since == 0 {
			return err
		}
	}
	segments := segmentsOf(since, r.s.Until, r.s.Cuts)
	if r.s.Newest > 0 {
		return r.newest(segments)
	}
	for _, g := range segments {
		if err := r.pages(g, stepOf(g.span)); err != nil {
			return err
		}
	}
	return nil
}

// span is a time, ns since the Unix epoch, without its end.
type span struct{ from, to uint64 }

// segment is a time without the events of some nodes.
type segment struct {
	span
	without []string
}

// segmentsOf divides a time where the nodes' events end, so that few are read that are not wanted.
func segmentsOf(since, until uint64, cuts map[string]uint64) (all []segment) {
	var times []uint64
	for _, cut := range cuts {
		if cut > since && cut < until {
			times = append(times, cut)
		}
	}
	slices.Sort(times)
	times = slices.Compact(times)
	if n := len(times); n > maxSegments-1 {
		few := make([]uint64, 0, maxSegments-1)
		for i := 1; i < maxSegments; i++ {
			few = append(few, times[i*n/maxSegments])
		}
		few[len(few)-1] = times[n-1] // the last one: after it, only nodes without a cut are read
		times = few
	}
	from := since
	for _, to := range append(times, until) {
		if to <= from {
			continue
		}
		g := segment{span: span{from, to}}
		for node, cut := range cuts {
			if cut <= from {
				g.without = append(g.without, node)
			}
		}
		slices.Sort(g.without)
		all = append(all, g)
		from = to
	}
	return all
}

// stepOf is the step in which the rows of a time are counted.
func stepOf(s span) time.Duration {
	step := time.Second
	for _, next := range []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute,
		15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		if time.Duration(s.to-s.from)/step <= maxBuckets {
			break
		}
		step = next
	}
	return step
}

// pages reads a segment in parts of few rows, as far as the times of rows differ.
func (r *read) pages(g segment, step time.Duration) error {
	counts, err := r.count(g, step)
	if err != nil {
		return err
	}
	page := span{from: g.from, to: g.from}
	rows := 0
	flush := func() error {
		if rows == 0 {
			return nil
		}
		rows = 0
		return r.page(segment{page, g.without})
	}
	for _, c := range counts {
		if c.rows > r.maxPage && step > minStep {
			if err := flush(); err != nil {
				return err
			}
			if err := r.pages(segment{c.span, g.without}, max(step/100, minStep)); err != nil {
				return err
			}
			page = span{from: c.to, to: c.to}
			continue
		}
		if rows > 0 && rows+c.rows > r.maxPage {
			if err := flush(); err != nil {
				return err
			}
		}
		if rows == 0 {
			page.from = c.from
		}
		page.to, rows = c.to, rows+c.rows
	}
	return flush()
}

// page reads a segment in the order of times.
func (r *read) page(g segment) error {
	return r.query(r.s.filter(g, r.o.Resource)+r.fields()+" | sort by (_time)", g, func() error {
		ev := r.event(g.span)
		if ev == nil {
			return nil
		}
		r.report.Rows++
		return r.yield(ev)
	})
}

// newest reads the newest events, newest first, and passes them on in the order of their times.
func (r *read) newest(segments []segment) error {
	var events []*event.Event
	held := 0
	for i := len(segments) - 1; i >= 0 && len(events) < r.s.Newest; i-- {
		g := segments[i]
		limit := r.s.Newest - len(events)
		rows := 0
		err := r.query(fmt.Sprintf("%s%s | sort by (_time) desc | limit %d", r.s.filter(g, r.o.Resource), r.fields(),
			limit), g, func() error {
			rows++
			ev := r.event(g.span)
			if ev == nil {
				return nil
			}
			events = append(events, ev)
			held += eventOverhead + len(r.row.line)
			if r.s.Hold == nil {
				return nil
			}
			return r.s.Hold(held)
		})
		if err != nil {
			return err
		}
		r.report.Truncated = r.report.Truncated || rows >= limit
	}
	for i, ev := range slices.Backward(events) {
		events[i] = nil
		r.report.Rows++
		if err := r.yield(ev); err != nil {
			return err
		}
	}
	return nil
}

// eventOverhead is the memory of an event besides its texts, bytes.
const eventOverhead = 1 << 10

// quote makes one token of a text, whatever it holds: LogsQL reads what Go's strconv.Unquote does.
func quote(s string) string { return strconv.Quote(s) }
