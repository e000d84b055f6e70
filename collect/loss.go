package collect

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// lossReport is how often losses that the merge found itself are put into the stream.
const lossReport = time.Second

// lossCounter counts what was lost, and what of it the stream does not report yet.
type lossCounter struct {
	total    losses.Tally
	pending  []Loss
	reported time.Time
}

// add counts a loss that the merge found itself, so that the stream must report it.
func (l *lossCounter) add(node string, stage event.LossStage, count uint64) {
	l.addOf(Loss{Node: node, Stage: stage, Count: count})
}

// addOf is add with the source of the loss.
func (l *lossCounter) addOf(loss Loss) {
	if loss.Count == 0 {
		return
	}
	l.total.Add(loss)
	for i := range l.pending {
		if p := &l.pending[i]; p.Node == loss.Node && p.Stage == loss.Stage && p.Source == loss.Source {
			p.Count += loss.Count
			return
		}
	}
	l.pending = append(l.pending, loss)
}

// next is when the next report is due, if there is one.
func (l *lossCounter) next() (time.Time, bool) { return l.reported.Add(lossReport), len(l.pending) > 0 }

func (l *lossCounter) due(now time.Time, finished bool) bool {
	at, ok := l.next()
	return ok && (finished || !now.Before(at))
}

// event takes the first pending loss as an event.
func (l *lossCounter) event(now time.Time) *event.Event {
	p := l.pending[0]
	l.pending = l.pending[1:]
	if len(l.pending) == 0 {
		l.reported = now
	}
	return p.Event(uint64(now.UnixNano()))
}

// Losses returns all that was lost so far, as losses.Tally sorts it: what tracers reported and what the merge itself
// found missing or had to drop. Stage NAMING was delivered, without names.
func (c *Collector) Losses() []Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loss.total.All()
}
