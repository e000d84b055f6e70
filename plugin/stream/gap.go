package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// gap is a time in which a node that has streamed does not.
type gap struct {
	since time.Time // zero: there is none
	// unseen: its tracer was lost, and with it what happened since.
	unseen bool
	// untold: the cut was not reported, and so its end is not either.
	untold bool
}

// minGap is the length that a gap is counted with at least: what is missing may be a moment's.
const minGap = time.Millisecond

// openGap begins a gap where the events of this attempt's tracer end, if it has sent any.
func (n *node) openGap() {
	if n.streamed.Load() && !n.gap.unseen {
		n.gap = gap{since: n.seen.get(), unseen: true}
	}
}

// closeGap counts what was not seen until then.
func (n *node) closeGap(until time.Time) {
	if n.gap.unseen && n.OnGap != nil {
		n.OnGap(n.name, max(wall(n.gap.since, until), minGap))
	}
	n.gap = gap{}
}

// endGap ends a gap with the session, or as the node fails, and tells the stream of it.
func (n *node) endGap(ctx context.Context, until time.Time) {
	if n.gap.unseen && event.NodeState(n.state.Load()) != event.NodeState_NODE_STATE_FAILED {
		message := fmt.Sprintf("what happened from %s on was not seen", clock(n.gap.since))
		// The only error is that nobody takes events any more.
		_ = n.source.Status(ctx, &event.NodeStatus{State: event.NodeState_NODE_STATE_RECONNECTING, Message: message})
	}
	n.closeGap(until)
}

// endGapIdle ends a gap where there was nothing more to see, and returns what to say of it.
func (n *node) endGapIdle(idle time.Time) (message string) {
	since := n.gap.since
	if !n.gap.unseen || !idle.After(since) {
		n.gap = gap{}
		return ""
	}
	n.closeGap(idle)
	return "; " + unseenFrom(since, idle)
}

// cutShort counts what an end of the session misses that came without the last batch, unless nobody takes it any more.
func (n *node) cutShort(ctx context.Context, err error) {
	switch {
	case err == nil && n.orderly:
	case errors.Is(err, collect.ErrEnded) && ctx.Err() == nil:
	default:
		n.openGap()
		if err == nil && ownEnd(n.last) {
			message := "tracer ended before the session did: " + cmp.Or(clip(n.last.GetMessage()), "it did not say why")
			n.report(event.NodeState_NODE_STATE_STOPPED, message)
		}
	}
}

// reportCut reports a connection that has ended, or was not made. A cut is reported once, not with each further
// attempt.
func (n *node) reportCut(heard time.Time, news bool, err error) {
	switch {
	case !n.streamed.Load():
		n.report(event.NodeState_NODE_STATE_STARTING, "connecting: "+err.Error())
	case news:
		if n.gap.since.IsZero() {
			n.gap.since = heard
		}
		if n.cuts.allow(time.Now()) {
			n.report(event.NodeState_NODE_STATE_RECONNECTING, "connection cut: "+err.Error())
		} else {
			n.gap.untold = true
		}
	}
}

// back says that the node streams, and what that ends.
func (n *node) back(ctx context.Context) {
	message := ""
	if since := n.gap.since; !since.IsZero() {
		now := time.Now()
		if !n.gap.untold {
			message = fmt.Sprintf("connected again after %.1f s", wall(since, now).Seconds())
		}
		if n.gap.unseen {
			message = "streaming again; " + unseenFrom(since, now)
		}
		n.closeGap(now)
	}
	if !n.streamed.Swap(true) {
		n.began.now()
		n.seen.now() // it has nothing to say of before
	}
	n.status(ctx, event.NodeState_NODE_STATE_STREAMING, message)
}

// streamedFor is how long this attempt has streamed; 0: it has not.
func (n *node) streamedFor() time.Duration {
	if !n.streamed.Load() {
		return 0
	}
	return max(n.seen.get().Sub(n.began.get()), 1)
}

func unseenFrom(since, until time.Time) string {
	took := wall(since, until).Seconds()
	return fmt.Sprintf("nothing was seen from %s to %s (%.1f s)", clock(since), clock(until), took)
}

// wall is the time between by the clock on the wall: on a machine that slept, its own went on less far.
func wall(from, to time.Time) time.Duration { return to.Round(0).Sub(from.Round(0)) }

// clock is how a time of the day is shown, to the millisecond.
func clock(t time.Time) string { return t.Format("15:04:05.000") }
