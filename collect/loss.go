package collect

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// lossReport is how often the merge emits its own losses.
const lossReport = time.Second

// lossCounter counts all losses, and those that the stream has not reported yet.
type lossCounter struct {
	total    losses.Tally
	pending  []Loss
	reported time.Time
}

// add counts a loss in the merge itself, which the stream must report.
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

// next returns when the next report is due, if there is one.
func (l *lossCounter) next() (time.Time, bool) { return l.reported.Add(lossReport), len(l.pending) > 0 }

func (l *lossCounter) due(now time.Time, finished bool) bool {
	at, ok := l.next()
	return ok && (finished || !now.Before(at))
}

// event removes the first pending loss and returns it as an event.
func (l *lossCounter) event(now time.Time) *event.Event {
	p := l.pending[0]
	l.pending = l.pending[1:]
	if len(l.pending) == 0 {
		l.reported = now
	}
	return p.Event(uint64(now.UnixNano()))
}

// Losses returns all losses so far in the order of losses.Tally: those that tracers reported, and missing or dropped
// events of the merge itself. Events of stage NAMING were delivered, without names.
func (c *Collector) Losses() []Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loss.total.All()
}
