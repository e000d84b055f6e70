package collect

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// interrupted is the source of losses of an interrupted Run: events that waited to be emitted.
const interrupted = "interrupted"

// abandon counts the events that wait to be emitted as lost, by node, and emits these losses. Feed then accepts no
// batches.
func (c *Collector) abandon(emit func(*event.Event) error) error {
	for _, ev := range c.countAbandoned(time.Now()) {
		if err := emit(ev); err != nil {
			return err
		}
	}
	return nil
}

// countAbandoned returns these losses as events, with earlier unreported ones.
func (c *Collector) countAbandoned(now time.Time) (lost []*event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	add := func(node string) {
		c.loss.addOf(Loss{Node: node, Stage: event.LossStage_LOSS_STAGE_MERGE, Source: interrupted, Count: 1})
	}
	for _, o := range c.order {
		it := o.item
		switch {
		case it.flow != nil:
			add(it.flow.node())
		case it.ev.GetLost() != nil: // already counted
			lost = append(lost, it.ev)
		case it.ev.GetNodeStatus() == nil:
			add(it.ev.GetNode())
		}
	}
	for _, f := range c.timers.heap {
		if f.item.at < 0 {
			add(f.node())
		}
	}
	for _, sides := range c.queries.sides {
		for _, q := range sides {
			if q.ev != nil {
				add(q.node)
			}
		}
	}
	for len(c.loss.pending) > 0 {
		lost = append(lost, c.loss.event(now))
	}
	return lost
}

// node returns the node of the flow's newest half.
func (f *flow) node() string {
	if f.lastChange == nil {
		return ""
	}
	return f.lastChange.socket.source.node
}
