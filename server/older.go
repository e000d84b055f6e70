package server

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
	"github.com/orb8-dev/kubectl-orb8/server/past"
)

// Past is a history store, which has what agents hold no more; past.Store is one.
type Past interface {
	Read(ctx context.Context, s *past.Selection, yield func(*event.Event) error) (past.Report, error)
}

const (
	// storedTimeout limits a query that reads the history store.
	storedTimeout = 5 * time.Minute
	// seamTime is how much of what an agent holds is read from the store, too: an agent gives up its history in blocks,
	// whose events are roughly in the order of their times. What both have is shown once.
	seamTime = uint64(5 * time.Second)
	// maxSeam limits the events that are compared. Beyond it, those of the store count as the agent's.
	maxSeam = 200_000
	// aliveInterval is the longest time without a message while the store is read.
	aliveInterval = 2 * time.Second
	// chunkEvents are passed on at once, fewer where they take chunkBytes, and chunksAhead such chunks are read ahead.
	// A row of the store, which is not trusted, has up to 256 KiB.
	chunkEvents, chunkBytes, chunksAhead = 256, 256 << 10, 4
	// storeSource is the source of losses by rows that cannot be read.
	storeSource = "history store"
)

// heldSince is from when on an agent has the events of its node.
func heldSince(h *orbit.AgentHello) uint64 { return cmp.Or(h.GetReach(), h.GetTime()) }

// lacking reports whether an agent holds less than the query is about, or does not answer, so that the store may know
// more; and up to which time.
func (q *query) lacking(cursors []*cursor) (until uint64, lacking bool) {
	for _, c := range cursors {
		switch {
		case c.held == 0:
			return q.end(), true
		case c.held > q.since:
			until, lacking = max(until, min(c.held, q.end())), true
		}
	}
	return until, lacking
}

// needsStore reports whether the newest events that agents hold may not be the newest of all. The store is read then.
func (q *query) needsStore() bool {
	if q.past == nil || q.readsStore || !q.lacks || q.held.oldest(q.last) >= q.lacksUntil {
		return false
	}
	q.readsStore = true
	return true
}

// end is the end of the query's time.
func (q *query) end() uint64 { return q.coverage.fixed.GetUntil() }

// stored reads the events of a query that agents hold no more. It is the cursor of all nodes together.
type stored struct {
	collector *collect.Collector
	sources   map[string]*collect.Source
	skew      map[string]int64
	chunks    chan []*event.Event
	events    []*event.Event
	report    past.Report
	err       error // valid once chunks is closed, as report is
}

// openStored begins to read the store, if the answer needs that; else it returns nil. The caller waits for done.
func (q *query) openStored(ctx context.Context, collector *collect.Collector, cursors []*cursor, newest int) (
	c *cursor, done func(),
) {
	done = func() {}
	if !q.readsStore || !q.lacks {
		return nil, done
	}
	sel := &past.Selection{Since: q.since, Until: q.end(), Node: q.target.node, Container: q.target.container,
		Pods: q.target.pods, Workloads: q.target.workloads, Cuts: map[string]uint64{}}
	scope := &q.coverage.fixed
	sel.Kinds = slices.DeleteFunc(slices.Clone(q.target.kinds), func(kind string) bool {
		return slices.Contains(scope.GetForbiddenKinds(), kind)
	})
	if !scope.GetAllNamespaces() {
		sel.Namespaces = scope.GetNamespaces()
	}
	if newest > 0 {
		sel.Newest = lastMargin * q.last
		sel.Hold = func(bytes int) error { return q.share.tryHold(partStored, bytes) }
	}
	s := &stored{collector: collector, sources: map[string]*collect.Source{}, skew: map[string]int64{},
		chunks: make(chan []*event.Event, chunksAhead)}
	q.seam = newSeam()
	for _, c := range cursors {
		until := q.end()
		if c.held > 0 {
			sel.Cuts[c.node] = c.held + seamTime
			q.seam.held[c.node] = c.held
			until = min(c.held, until)
		}
		if until > q.since {
			q.coverage.storedUntil(c.node, until)
		}
		s.sources[c.node], s.skew[c.node] = c.source, c.skew
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.chunks)
		s.read(ctx, q.past, sel)
	}()
	return &cursor{stored: s}, func() { <-ended }
}

// read passes events on in chunks.
func (s *stored) read(ctx context.Context, store Past, sel *past.Selection) {
	var chunk []*event.Event
	bytes := 0
	pass := func() error {
		select {
		case s.chunks <- chunk:
			chunk, bytes = nil, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.report, s.err = store.Read(ctx, sel, func(ev *event.Event) error {
		chunk = append(chunk, ev)
		if bytes += ev.SizeVT(); len(chunk) < chunkEvents && bytes < chunkBytes {
			return nil
		}
		return pass()
	})
	if len(chunk) > 0 {
		_ = pass() // ctx has ended
	}
}

// next returns the next event.
func (s *stored) next(q *query) (*event.Event, bool) {
	if len(s.events) == 0 && !s.await(q) {
		return nil, false
	}
	ev := s.events[0]
	s.events = s.events[1:]
	return ev, true
}

// await waits for the next chunk, and reports whether there is one. It sends signs of life: the store may be slow.
func (s *stored) await(q *query) (ok bool) {
	alive := time.NewTicker(aliveInterval)
	defer alive.Stop()
	for {
		select {
		case s.events, ok = <-s.chunks:
			return ok
		case <-alive.C:
			if q.failed = q.pass(&orbit.Answer{}); q.failed != nil {
				return false
			}
		}
	}
}

// nextStored makes the store's next event that the caller may see the next one.
func (c *cursor) nextStored(q *query) bool {
	for {
		ev, ok := c.stored.next(q)
		if !ok {
			return false
		}
		if c.first == 0 {
			c.first = ev.GetTime()
		}
		if !q.seam.isFirst(ev, false) || !q.isVisible(ev) {
			continue
		}
		c.source = c.stored.source(ev.GetNode())
		at := int64(ev.GetTime()) - c.stored.skew[ev.GetNode()]
		c.event, c.at = ev, max(c.at, uint64(max(at, 0)))
		return true
	}
}

// source returns the source of a node, which may have no agent any more.
func (s *stored) source(node string) *collect.Source {
	if s.sources[node] == nil {
		s.sources[node] = s.collector.Add(node)
	}
	return s.sources[node]
}

// closeStored says what was read of the store.
func (q *query) closeStored(c *cursor) error {
	if c == nil {
		return nil
	}
	_ = q.share.hold(partStored, 0) // less is never too much
	s := c.stored
	if s.err != nil {
		q.log.Warn("the history store did not answer", "err", past.Detail(s.err))
	}
	if status.Code(s.err) == codes.ResourceExhausted {
		return s.err
	}
	c.truncated = s.report.Truncated
	q.coverage.stored(&s.report, s.err)
	if s.report.Bad == 0 {
		return nil
	}
	return q.emit(&event.Event{Time: q.end(), Kind: &event.Event_Lost{Lost: &event.Lost{
		Stage: event.LossStage_LOSS_STAGE_DECODE, Source: storeSource, Count: s.report.Bad}}})
}

// seam compares what the store and agents both have, where the one ends and the others begin.
type seam struct {
	held map[string]uint64 // by node, from when on its agent has the events
	seen map[uint64]struct{}
	seed maphash.Seed
}

func newSeam() *seam {
	return &seam{held: map[string]uint64{}, seen: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

// isFirst reports whether an event was not seen yet.
func (s *seam) isFirst(ev *event.Event, ofAgent bool) bool {
	if s == nil {
		return true
	}
	held := s.held[ev.GetNode()]
	if ev.GetTime() < held || held == 0 || ev.GetTime()-held >= seamTime {
		return true
	}
	encoded, err := wire.Marshal(ev)
	if err != nil {
		return true
	}
	key := maphash.Bytes(s.seed, encoded)
	if _, ok := s.seen[key]; ok {
		return false
	}
	if len(s.seen) < maxSeam {
		s.seen[key] = struct{}{}
		return true
	}
	return ofAgent
}
