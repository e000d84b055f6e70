package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

const (
	// queryTimeout limits a query as a whole.
	queryTimeout = time.Minute
	// lastMargin times its share of the newest events is the size of the first request to a node.
	lastMargin = 4
	// maxRounds limits the requests to each node.
	maxRounds = 4
)

// query sends events of the past.
type query struct {
	*call
	since, until uint64
	last         int
	// flows: one event for each flow, its last.
	flows bool
	send  func(orbit.Wire) error

	held   *held
	events [][]byte // not sent yet
	bytes  int
}

// query answers a request about the past.
func (s *Service) query(
	ctx context.Context, request *orbit.QueryRequest, flows bool, send func(orbit.Wire) error, only ...string,
) error {
	since, until, err := window(request, time.Now())
	if err != nil {
		return err
	}
	if request.GetLast() > orbit.MaxLast {
		return invalid("last: %d: want at most %d", request.GetLast(), orbit.MaxLast)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	c, err := s.open(ctx, request.GetProtocol(), request.GetSelection(), only...)
	if err != nil {
		return err
	}
	defer c.close()
	q := &query{call: c, since: since, until: until, last: int(request.GetLast()), flows: flows, send: send}
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
	nodes := q.nodes()
	newest := 0
	if q.last > 0 {
		newest = lastMargin * (q.last + max(len(nodes), 1) - 1) / max(len(nodes), 1)
	}
	for round := 1; ; round++ {
		q.held.release()
		q.held = nil
		if q.last > 0 || q.flows {
			q.held = newHeld(q.last, q.flows, q.share)
		}
		cursors, err := q.queryNodes(ctx, nodes, newest)
		if err != nil {
			return err
		}
		oldest := q.held.oldest(q.last)
		short := slices.ContainsFunc(cursors, func(c *cursor) bool { return c.truncated && c.first > oldest })
		if q.last == 0 || !short || round == maxRounds || newest > math.MaxUint32/lastMargin {
			break
		}
		if newest *= lastMargin; round == maxRounds-1 {
			newest = 0 // all
		}
	}
	return q.held.each(q.appendEvent)
}

func (q *query) nodes() (nodes []*agent) {
	all, _ := q.agents.all()
	for _, g := range all {
		if q.target.node == "" || q.target.node == g.node {
			nodes = append(nodes, g)
		}
	}
	return nodes
}

// queryNodes reads the answers of the nodes once, merged.
func (q *query) queryNodes(ctx context.Context, nodes []*agent, newest int) ([]*cursor, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	cursors := make([]*cursor, len(nodes))
	var asking sync.WaitGroup
	// Flows in their first and last states. One that lacks flows is no answer: the query ends where memory does.
	collector := q.newCollector(queryTimeout, func(bytes int) bool {
		if err := q.share.hold(partMerge, bytes); err != nil {
			end(err)
		}
		return true
	})
	for i, g := range nodes {
		cursors[i] = &cursor{node: g.node, source: collector.Add(g.node)}
		asking.Go(func() { cursors[i].open(ctx, q, g, newest) })
	}
	asking.Wait()
	var feeding sync.WaitGroup
	feeding.Go(func() {
		q.feed(ctx, cursors)
		collector.Finish()
	})
	err := collector.Run(ctx, q.emit)
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
		if _, ok := status.FromError(cause); !ok {
			err = status.FromContextError(ctx.Err()).Err()
		}
	}
	end(nil)
	feeding.Wait()
	_ = q.share.hold(partMerge, 0) // less is never too much
	return cursors, err
}

// cursor reads the answer of a node.
type cursor struct {
	node   string
	source *collect.Source
	stream interface {
		Recv() (*orbit.AgentBatch, error)
	}
	hello *orbit.AgentHello
	// at is the time up to which the answer was read, first that of its first event, ns since the Unix epoch.
	at, first uint64
	truncated bool
	cancel    context.CancelFunc
}

// open asks a node.
func (c *cursor) open(ctx context.Context, q *query, g *agent, newest int) {
	ctx, c.cancel = context.WithTimeout(ctx, agentTimeout)
	stream, err := g.client.Query(ctx, &orbit.AgentQueryRequest{Protocol: orbit.Protocol,
		Selection: q.target.pushed(), Since: q.since, Until: q.until, Newest: uint32(newest)})
	if err == nil {
		var first *orbit.AgentBatch
		if first, err = stream.Recv(); err == nil {
			c.hello, c.stream = first.GetHello(), stream
			q.coverage.hello(c.node, c.hello, orbit.ClipSpans(c.hello.GetUnseen(), q.since,
				cmp.Or(q.until, c.hello.GetTime())))
			return
		}
	}
	answer, message := explain(err)
	q.coverage.answer(c.node, answer, message)
}

// feed reads the answers in the order of their times.
func (q *query) feed(ctx context.Context, cursors []*cursor) {
	open := slices.DeleteFunc(slices.Clone(cursors), func(c *cursor) bool { return c.stream == nil })
	for len(open) > 0 && ctx.Err() == nil {
		c := slices.MinFunc(open, func(a, b *cursor) int { return cmp.Compare(a.at, b.at) })
		if c.next(ctx, q) {
			continue
		}
		c.cancel()
		c.source.Close()
		open = slices.DeleteFunc(open, func(d *cursor) bool { return d == c })
	}
	for _, c := range cursors {
		if c.cancel != nil {
			c.cancel()
		}
	}
}

// next feeds one batch, and reports whether there are more.
func (c *cursor) next(ctx context.Context, q *query) bool {
	batch, err := c.stream.Recv()
	if err != nil {
		if !errors.Is(err, io.EOF) && ctx.Err() == nil {
			answer, message := explain(err)
			q.coverage.answer(c.node, answer, message)
		}
		return false
	}
	c.truncated = c.truncated || batch.GetTruncated()
	if events := batch.GetEvents(); c.first == 0 && len(events) > 0 {
		c.first = events[0].GetTime()
	}
	c.at = max(c.at, batch.GetWatermark())
	return c.source.Feed(ctx, collect.Batch{Instance: c.hello.GetInstance(), Events: q.visible(batch.GetEvents()),
		Watermark: batch.GetWatermark(), Kernel: c.hello.GetBootId()}) == nil
}

// emit takes a merged event.
func (q *query) emit(ev *event.Event) error {
	if !q.show(ev) {
		return nil
	}
	encoded, err := proto.Marshal(ev)
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
