package server

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// leastNewest is the least number of events in a request: nodes report the flows of an interval at once, so that a
	// few of them have most of the newest events.
	leastNewest = 16
	// worthKeeping is from how many nodes on the answers are kept: asking a few nodes anew takes less than it spares.
	worthKeeping = 16
	// maxKept limits the events that are kept until all nodes have answered.
	maxKept = 1 << 15
	// maxAsking limits the concurrent requests of a query: each takes some 30 KiB until its node has answered, and more
	// of them are not faster, since decoding the answers takes the time.
	maxAsking = 192
	// endsOfFlow is how many events a flow has in the answers of nodes: one of each end, and some are not visible.
	endsOfFlow = 2
)

// runNewest answers a query for few of the newest events. It keeps the answers of all nodes, finds out by the times of
// their events which nodes hold more of the newest ones than they sent, and asks only those again. Then it merges. It
// returns false where the answers are too large to be kept, or not worth it.
func (q *query) runNewest(ctx context.Context, nodes []*agent, newest int) (done bool, err error) {
	newest = max(newest, leastNewest)
	if q.last == 0 || len(nodes) < worthKeeping || newest*len(nodes) > maxKept {
		return false, nil
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	answers := make([]*cursor, len(nodes))
	defer func() {
		for _, c := range answers {
			c.hold(q, nil, 0)
		}
	}()
	want := q.last * endsOfFlow
	short := make([]int, len(nodes)) // all
	for i := range short {
		short[i] = i
	}
	for round := 0; ; {
		if round++; round > maxRounds || !q.keep(ctx, nodes, answers, short, newest) {
			return false, nil
		}
		oldest := nthNewest(answers, want)
		short = shortAnswers(answers, oldest)
		for len(short) == 0 {
			q.newHeld()
			if err := q.play(ctx, end, answers, newest); err != nil {
				return false, err
			}
			if q.held.order(); oldest == 0 || q.held.oldest(q.last) >= oldest {
				return true, nil
			}
			// Flows had more events than that, or what is selected is less than what the nodes sent.
			want *= lastMargin
			for _, c := range answers {
				c.rewind(q)
			}
			oldest = nthNewest(answers, want)
			short = shortAnswers(answers, oldest)
		}
		newest *= lastMargin
	}
}

// keep asks some of the nodes and keeps their answers. It returns false where there are too many events.
func (q *query) keep(ctx context.Context, nodes []*agent, answers []*cursor, some []int, newest int) bool {
	var asking sync.WaitGroup
	ask := func(i int, release func()) {
		g := nodes[i]
		if answers[i] != nil {
			answers[i].hold(q, nil, 0)
		}
		c := &cursor{node: g.node, timeout: g.answerTimeout(q.agentTimeout)}
		answers[i] = c
		asking.Go(func() {
			defer release()
			// Nodes that do not answer must not hold others up.
			defer time.AfterFunc(lateTimeout, release).Stop()
			if c.open(ctx, q, g, newest); c.inbox != nil {
				c.keepAll(q)
			}
		})
	}
	// Those that did not answer before come first, and in addition: their time-out runs while others answer.
	var prompt []int
	for _, i := range some {
		if nodes[i].late.Load() {
			ask(i, func() {})
		} else {
			prompt = append(prompt, i)
		}
	}
	slots := make(chan struct{}, maxAsking)
	for _, i := range prompt {
		ask(i, acquire(ctx, slots))
	}
	asking.Wait()
	kept := 0
	for _, c := range answers {
		kept += len(c.kept)
	}
	return kept <= maxKept
}

// acquire waits for a slot, or until ctx ends. The function that it returns gives the slot back; further calls of it do
// nothing.
func acquire(ctx context.Context, slots chan struct{}) (release func()) {
	select {
	case slots <- struct{}{}:
		return sync.OnceFunc(func() { <-slots })
	case <-ctx.Done():
		return func() {}
	}
}

// keepAll reads the whole answer.
func (c *cursor) keepAll(q *query) {
	var kept [][]byte
	bytes := 0
	for c.nextBatch(q) {
		if kept = append(kept, c.events...); len(kept) > maxKept {
			c.end(q)
		}
		bytes += c.bytes
	}
	if len(kept) == 0 {
		return
	}
	c.kept, c.keptBytes = kept, bytes
	c.times = make([]uint64, 0, len(kept))
	for _, encoded := range kept {
		h, _ := event.ReadHeader(encoded) // one that cannot be read ends the answer when it is decoded
		at := int64(min(h.Time, math.MaxInt64/2)) - c.skew
		c.times = append(c.times, uint64(max(at, 0)))
	}
	c.rewind(q)
}

// rewind begins a kept answer anew.
func (c *cursor) rewind(q *query) {
	c.event, c.at, c.first = nil, 0, 0
	c.hold(q, c.kept, c.keptBytes)
}

// nthNewest is the time of the nth newest event of all answers by the server's clock; 0: there are fewer.
func nthNewest(answers []*cursor, n int) uint64 {
	var times []uint64
	for _, c := range answers {
		times = append(times, c.times...)
	}
	if len(times) < n {
		return 0
	}
	slices.Sort(times)
	return times[len(times)-n]
}

// shortAnswers are the answers that may lack events that are not older than a time.
func shortAnswers(answers []*cursor, oldest uint64) (short []int) {
	for i, c := range answers {
		if c.truncated && len(c.times) > 0 && c.times[0] > oldest {
			short = append(short, i)
		}
	}
	return short
}
