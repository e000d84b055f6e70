package collect

import (
	"cmp"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// lossReport is how often losses that the merge found itself are put into the stream.
const lossReport = time.Second

type lossKey struct {
	node, source string
	stage        event.LossStage
}

// lossCounter counts what was lost, and what of it the stream has not been told yet.
type lossCounter struct {
	total   map[lossKey]uint64
	pending []Loss
	told    time.Time
}

// add counts; own says that the merge found the loss itself, so that the stream must be told.
func (l *lossCounter) add(node string, stage event.LossStage, source string, count uint64, own bool) {
	if count == 0 {
		return
	}
	l.total[lossKey{node, source, stage}] += count
	if !own {
		return
	}
	for i := range l.pending {
		if p := &l.pending[i]; p.Node == node && p.Stage == stage && p.Source == source {
			p.Count += count
			return
		}
	}
	l.pending = append(l.pending, Loss{node, stage, source, count})
}

// next is when the next report is due, if there is one.
func (l *lossCounter) next() (time.Time, bool) { return l.told.Add(lossReport), len(l.pending) > 0 }

func (l *lossCounter) due(now time.Time, finished bool) bool {
	at, ok := l.next()
	return ok && (finished || !now.Before(at))
}

// event takes the first pending loss as an event.
func (l *lossCounter) event(now time.Time) *event.Event {
	p := l.pending[0]
	l.pending = l.pending[1:]
	if len(l.pending) == 0 {
		l.told = now
	}
	return &event.Event{Time: uint64(now.UnixNano()), Node: p.Node, Kind: &event.Event_Lost{
		Lost: &event.Lost{Stage: p.Stage, Source: p.Source, Count: p.Count},
	}}
}

// Losses returns all that was lost so far, by node, stage and source: what tracers reported and what the merge itself
// found missing or had to drop. Stage NAMING was delivered, without names.
func (c *Collector) Losses() []Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Loss
	for k, n := range c.loss.total {
		all = append(all, Loss{k.node, k.stage, k.source, n})
	}
	slices.SortFunc(all, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Source, b.Source))
	})
	return all
}
