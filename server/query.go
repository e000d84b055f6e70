package server

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

const (
	// queryTimeout limits a query as a whole.
	queryTimeout = time.Minute
	// maxInterval limits the time between two updates of a flow.
	maxInterval = 366 * 24 * time.Hour
	// lastMargin times its share of the newest events is the size of the first request to a node.
	lastMargin = 4
	// maxRounds limits the requests to each node.
	maxRounds = 4
	// scanInterval and closeWait are how long a flow of the past is waited for: the longest interval of agents that
	// joins the halves of each datagram flow, and the time between the ends of the halves.
	scanInterval, closeWait = 10 * time.Second, 10 * time.Second
	// minSkew is how much a clock may differ before the times of its events are corrected.
	minSkew = time.Second
)

// query sends events of the past.
type query struct {
	*call
	since, until uint64
	last         int
	// interval is the least time between two updates of a flow.
	interval time.Duration
	// flows: one event for each flow, its last.
	flows bool
	// sums, if not nil, are sent instead of flows.
	sums *sums
	send func(orbit.Wire) error

	// readsStore: the history store is read where agents hold too little. failed is the error of a message meanwhile.
	readsStore bool
	failed     error
	seam       *seam   // nil: the store is not read
	store      *cursor // of the newest merge; nil: it read no store
	// lacks: the agents hold less than the query is about, or do not answer, up to lacksUntil.
	lacks      bool
	lacksUntil uint64

	begun bool // the first message is out
	held  *held
	// decoder decodes held events.
	decoder wire.Decoder
	memory  wire.Memory
	events  [][]byte // not sent yet
	bytes   int
}

// queryOptions select the form of an answer.
type queryOptions struct {
	// flows: one event for each flow, its last, and no other kinds.
	flows bool
	// aggregateBy are names of fields: sums of flows instead. None: the flows.
	aggregateBy []string
}

// query answers a request about the past.
func (s *Service) query(
	ctx context.Context, request *orbit.QueryRequest, o queryOptions, send func(orbit.Wire) error,
) error {
	now := time.Now()
	since, until, err := window(request, now)
	if err != nil {
		return err
	}
	if interval := time.Duration(request.GetInterval()); interval < 0 || interval > maxInterval {
		return invalid("interval: %v: want 0 to %v", interval, maxInterval)
	}
	if request.GetLast() > orbit.MaxLast {
		return invalid("last: %d: want at most %d", request.GetLast(), orbit.MaxLast)
	}
	var only []string
	if o.flows {
		only = []string{"flow"}
	}
	c, err := s.open(ctx, request.GetProtocol(), request.GetSelection(), s.turns, only...)
	if err != nil {
		return err
	}
	defer c.close()
	timeout := queryTimeout
	if s.past != nil {
		timeout = storedTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := cmp.Or(until, uint64(now.UnixNano()))
	c.coverage.period(since, at)
	q := &query{call: c, since: since, until: until, last: int(request.GetLast()), flows: o.flows, send: send}
	q.readsStore = s.past != nil && q.last == 0
	if q.interval = time.Duration(request.GetInterval()); o.flows {
		q.interval = maxInterval // only the last state counts
	}
	if len(o.aggregateBy) > 0 {
		by, err := event.NewGrouping(o.aggregateBy)
		if err != nil {
			return invalid("aggregate_by: %v", err)
		}
		q.sums = newSums(by, at, c.share)
	}
	if err := q.run(ctx); err != nil {
		return err
	}
	return q.finish()
}

// window returns the limits of a query, ns since the Unix epoch; until is 0 for now.
func window(r *orbit.QueryRequest, now time.Time) (since, until uint64, err error) {
	since, until = r.GetSince(), r.GetUntil()
	if ago := r.GetAgo(); ago < 0 || ago > 0 && since > 0 {
		return 0, 0, invalid("ago, since: want one of them, not negative")
	} else if ago > 0 {
		since = uint64(now.Add(-time.Duration(ago)).UnixNano())
	}
	if until > 0 && until <= since {
		return 0, 0, invalid("until: it is not after since")
	}
	return since, until, nil
}

// run queries the nodes, again and with larger requests while one holds more of the newest events than it sent.
func (q *query) run(ctx context.Context) error {
	nodes := q.agentsOf(q.target)
	newest := 0
	if q.last > 0 {
		newest = lastMargin * (q.last + max(len(nodes), 1) - 1) / max(len(nodes), 1)
	}
	done, err := q.runNewest(ctx, nodes, newest)
	if err != nil {
		return err
	}
	done = done && !q.needsStore()
	for round := 1; !done; round++ {
		q.newHeld()
		cursors, err := q.queryNodes(ctx, nodes, newest)
		if err != nil {
			return err
		}
		q.held.order()
		oldest := q.held.oldest(q.last)
		short := slices.ContainsFunc(cursors, func(c *cursor) bool { return c.truncated && c.first > oldest }) ||
			q.store != nil && q.store.truncated && q.store.first > oldest
		if q.last == 0 || !short || round == maxRounds || newest > math.MaxUint32/lastMargin {
			if !q.needsStore() {
				break
			}
			round = 0
			continue
		}
		if newest *= lastMargin; round == maxRounds-1 {
			newest = 0 // all
		}
	}
	if q.held != nil {
		q.endTurn() // how long the client takes to read what is held is nobody else's concern
	}
	if q.sums == nil {
		return q.held.each(q.appendEvent)
	}
	if err := q.held.each(q.sumEncoded); err != nil {
		return err
	}
	return q.appendSums()
}

// newHeld begins to hold the events of an answer, if it does not go out event by event.
func (q *query) newHeld() {
	q.held.release()
	q.held = nil
	if q.last > 0 || q.flows && q.sums == nil {
		q.held = newHeld(q.last, q.flows, q.share)
	}
}

// queryNodes reads the answers of the nodes once, merged.
func (q *query) queryNodes(ctx context.Context, nodes []*agent, newest int) ([]*cursor, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	cursors := make([]*cursor, len(nodes))
	var asking sync.WaitGroup
	for i, g := range nodes {
		cursors[i] = &cursor{node: g.node, timeout: g.answerTimeout(q.agentTimeout)}
		asking.Go(func() { cursors[i].open(ctx, q, g, newest) })
	}
	asking.Wait()
	return cursors, q.play(ctx, end, cursors, newest)
}

// play merges the answers of the nodes, which are their newest events; 0: all.
func (q *query) play(ctx context.Context, end context.CancelCauseFunc, cursors []*cursor, newest int) error {
	// An answer that lacks flows is none: the query ends where memory does.
	lastStateWait, closeWait := time.Duration(0), closeWait
	if q.flows && newest == 0 {
		// Agents send one event of each half of a flow, the store some: a half for datagrams ends 30 s after the other.
		lastStateWait, closeWait = time.Minute, time.Minute
	}
	collector := q.newCollector(collect.Options{Recorded: true, Updates: q.interval, Interval: scanInterval,
		CloseWait: closeWait, LastStateWait: lastStateWait, Memory: func(bytes int) bool {
			if err := q.share.hold(partMerge, bytes); err != nil {
				end(err)
			}
			return true
		}})
	for _, c := range cursors {
		c.source = collector.Add(c.node)
		c.source.PlayedOn(c.kernel)
	}
	if !q.begun {
		q.begun = true
		head := &orbit.Answer{Coverage: q.coverage.snapshot(), AggregatedBy: q.sums.names()}
		if err := q.pass(head); err != nil {
			return err
		}
	}
	q.lacksUntil, q.lacks = q.lacking(cursors)
	var done func()
	q.store, done = q.openStored(ctx, collector, cursors, newest)
	if q.store != nil {
		cursors = append(slices.Clone(cursors), q.store)
	}
	err := q.merge(collector, cursors)
	if err == nil {
		err = q.failed
	}
	if err != nil {
		end(err)
	}
	done()
	if err == nil {
		err = q.closeStored(q.store)
	}
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
		if _, ok := status.FromError(cause); !ok {
			err = status.FromContextError(ctx.Err()).Err()
		}
	}
	if err == nil {
		err = collector.FinishPlay(q.emit)
	}
	_ = q.share.hold(partMerge, 0) // less is never too much
	return err
}

// merge plays the answers in the order of their times.
func (q *query) merge(collector *collect.Collector, cursors []*cursor) error {
	open := byTime(slices.DeleteFunc(slices.Clone(cursors), func(c *cursor) bool { return !c.next(q) }))
	for heap.Init(&open); len(open) > 0; {
		c := open[0]
		if err := collector.Play(c.source, c.event, c.at, q.emit); err != nil {
			return err
		}
		if c.next(q) {
			heap.Fix(&open, 0)
		} else {
			heap.Pop(&open)
		}
	}
	return nil
}

// byTime is a heap of cursors by the times of their next events.
type byTime []*cursor

func (b byTime) Len() int           { return len(b) }
func (b byTime) Less(i, j int) bool { return b[i].at < b[j].at }
func (b byTime) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// Push and Pop implement heap.Interface.
func (b *byTime) Push(x any) { *b = append(*b, x.(*cursor)) }

func (b *byTime) Pop() any {
	last := (*b)[len(*b)-1]
	(*b)[len(*b)-1] = nil
	*b = (*b)[:len(*b)-1]
	return last
}

// cursor reads the answer of a node.
type cursor struct {
	node   string
	source *collect.Source
	inbox  *inbox // nil: the answer has ended
	ctx    context.Context
	cancel context.CancelCauseFunc
	// timeout is how long a batch may take.
	timeout time.Duration
	// skew is the node's clock minus the server's, ns, and kernel identifies its kernel.
	skew   int64
	kernel string
	// event is the one to be played next, at its time by the server's clock, ns since the Unix epoch. events are
	// further ones, encoded: there are many cursors.
	event   *event.Event
	at      uint64
	events  [][]byte
	bytes   int // of the batch of events
	decoder wire.Decoder
	memory  wire.Memory
	// kept are all events of an answer that is kept, and times their times by the server's clock.
	kept      [][]byte
	keptBytes int
	times     []uint64
	// held is from when on the agent has the node's events, by its clock; 0: it does not answer.
	held uint64
	// stored, if not nil, is read instead of an agent.
	stored *stored
	// first is the time of the first event of the answer, by the node's clock.
	first     uint64
	truncated bool
}

// open asks a node.
func (c *cursor) open(ctx context.Context, q *query, g *agent, newest int) {
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	asked := time.Now()
	err := c.request(q, g, newest)
	if err == nil {
		var first *batch
		if first, err = c.receive(); err == nil {
			g.answered()
			hello := first.GetHello()
			c.kernel = hello.GetBootId()
			c.skew, c.held = skewOf(hello, asked, time.Now()), heldSince(hello)
			q.coverage.hello(c.node, hello, orbit.ClipSpans(gapsOf(hello), q.since,
				cmp.Or(q.until, hello.GetTime())), c.skew)
			return
		}
	}
	if ctx.Err() == nil && time.Since(asked) > lateTimeout {
		g.missed(q.agentTimeout)
	}
	c.fail(q, err)
}

// request sends the request, if the connection is there in time.
func (c *cursor) request(q *query, g *agent, newest int) (err error) {
	defer c.limit()()
	c.inbox, err = g.query(c.ctx, &orbit.AgentQueryRequest{Protocol: orbit.Protocol, Selection: q.target.pushed(),
		Since: q.since, Until: q.until, Newest: uint32(newest), Window: uint32(q.share.window),
		LastStates: q.flows && newest == 0})
	return c.lateError(err)
}

// limit cancels the answer after the time-out, unless the function that it returns is called before.
func (c *cursor) limit() (stop func() bool) {
	return time.AfterFunc(c.timeout, func() { c.cancel(context.DeadlineExceeded) }).Stop
}

// lateError is the error of an answer that may have been late.
func (c *cursor) lateError(err error) error {
	if err != nil && errors.Is(context.Cause(c.ctx), context.DeadlineExceeded) {
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	return err
}

// skewOf is an agent's clock minus the server's, ns; 0 where the time that the answer took may explain it.
func skewOf(hello *orbit.AgentHello, asked, answered time.Time) int64 {
	at := hello.GetTime()
	if at == 0 || at > math.MaxInt64/2 {
		return 0
	}
	if clock := time.Unix(0, int64(at)); clock.After(asked.Add(-minSkew)) && clock.Before(answered.Add(minSkew)) {
		return 0
	}
	return int64(at) - asked.Add(answered.Sub(asked)/2).UnixNano()
}

// receive returns the next batch, if it comes in time. The time between two calls does not count: the client may be
// slow.
func (c *cursor) receive() (*batch, error) {
	defer c.limit()()
	b, err := c.inbox.receive()
	return b, c.lateError(err)
}

// end ends the answer.
func (c *cursor) end(q *query) {
	c.hold(q, nil, 0)
	c.inbox = nil
	c.decoder, c.memory = wire.Decoder{}, wire.Memory{} // a query has many cursors
	c.cancel(nil)
}

// hold keeps the events of a batch.
func (c *cursor) hold(q *query, events [][]byte, bytes int) {
	q.share.add(partBatches, bytes-c.bytes)
	c.events, c.bytes = events, bytes
}

// fail ends the answer with an error.
func (c *cursor) fail(q *query, err error) {
	c.end(q)
	answer, message := explain(err)
	q.coverage.answer(c.node, answer, message)
}

// next makes event the next one, and reports whether there is one.
func (c *cursor) next(q *query) bool {
	if c.stored != nil {
		return c.nextStored(q)
	}
	for {
		if len(c.events) == 0 {
			if !c.nextBatch(q) {
				return false
			}
			continue
		}
		c.memory.Reset() // the event before was played
		ev, err := decode(&c.decoder, c.events[0], &c.memory)
		if err != nil {
			c.fail(q, err)
			return false
		}
		c.events = c.events[1:]
		if c.first == 0 {
			c.first = ev.GetTime()
		}
		ev.Node = c.node
		if q.seam.isFirst(ev, true) && q.isVisible(ev) {
			at := int64(min(ev.GetTime(), math.MaxInt64/2)) - c.skew
			c.event, c.at = ev, max(c.at, uint64(max(at, 0)))
			return true
		}
	}
}

// nextBatch receives further events, and reports whether the answer goes on.
func (c *cursor) nextBatch(q *query) bool {
	c.hold(q, nil, 0)
	if c.inbox == nil {
		return false
	}
	b, err := c.receive()
	switch {
	case errors.Is(err, io.EOF):
		c.end(q)
		return false
	case err != nil:
		c.fail(q, err)
		return false
	}
	q.metrics.Received(len(b.events))
	c.truncated = c.truncated || b.GetTruncated()
	c.hold(q, b.events, b.bytes)
	return true
}

// emit takes a merged event.
func (q *query) emit(ev *event.Event) error {
	q.metrics.Merged(ev, false)
	flow := ev.GetFlow()
	if !q.show(ev) {
		// A flow is selected by its last state.
		q.held.forget(flow.GetId())
		q.sums.remove(flow.GetId())
		return nil
	}
	if q.sums != nil && q.held == nil && flow != nil {
		return q.sums.add(ev)
	}
	encoded, err := wire.Marshal(ev)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if q.held == nil {
		return q.appendEvent(encoded)
	}
	return q.held.add(ev, encoded)
}

// appendEvent adds an event to the message, and sends that when it is full.
func (q *query) appendEvent(encoded []byte) error {
	if len(q.events) > 0 && (len(q.events) == orbit.MaxBatchEvents || q.bytes+len(encoded) > orbit.MaxBatchBytes) {
		if err := q.pass(&orbit.Answer{}); err != nil {
			return err
		}
	}
	q.events, q.bytes = append(q.events, encoded), q.bytes+len(encoded)
	return nil
}

// sumEncoded adds a held flow to the sums.
func (q *query) sumEncoded(encoded []byte) error {
	q.memory.Reset()
	ev, err := decode(&q.decoder, encoded, &q.memory)
	if err != nil {
		return err
	}
	if ev.GetFlow() == nil {
		return q.appendEvent(encoded)
	}
	return q.sums.add(ev)
}

// appendSums adds the sums to the message.
func (q *query) appendSums() error {
	for _, row := range q.sums.rows() {
		encoded, err := wire.Marshal(row)
		if err == nil {
			err = q.appendEvent(encoded)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *query) pass(head *orbit.Answer) error {
	wire, err := orbit.EncodeAnswer(head, q.events)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	q.events, q.bytes = q.events[:0], 0
	return q.send(wire)
}

// finish sends what is left, and what the answer covers.
func (q *query) finish() error { return q.pass(&orbit.Answer{Coverage: q.coverage.snapshot()}) }
