package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
)

// gap is a time in which a node that has streamed sends no events.
type gap struct {
	since time.Time // zero: there is none
	// lost: the tracer was lost, and with it the events since then.
	lost bool
	// unreported: the cut was not reported, so neither is its end.
	unreported bool
}

// minGap is the least length of a gap, so that a short one still counts.
const minGap = time.Millisecond

// openGap begins a gap where the events of this attempt's tracer end, if it has sent any.
func (n *node) openGap() {
	if n.streamed.Load() && !n.gap.lost {
		n.gap = gap{since: n.seen.get(), lost: true}
	}
}

// closeGap ends a gap at until and reports its length to OnGap.
func (n *node) closeGap(until time.Time) {
	if n.gap.lost && n.OnGap != nil {
		n.OnGap(n.name, max(wall(n.gap.since, until), minGap))
	}
	n.gap = gap{}
}

// endGap ends a gap at the end of the session or of a failed node, and adds a status to the stream.
func (n *node) endGap(ctx context.Context) {
	if n.gap.lost && event.NodeState(n.state.Load()) != event.NodeState_NODE_STATE_FAILED {
		message := fmt.Sprintf("what happened from %s on was not seen", advice.Clock(n.gap.since))
		// The only error is that the stream is closed.
		_ = n.source.Status(ctx, &event.NodeStatus{State: event.NodeState_NODE_STATE_RECONNECTING, Message: message})
	}
	n.closeGap(cmp.Or(n.stopped.get(), time.Now()))
}

// endGapIdle ends a gap at the time from which on the node had no targets, and returns the text about the gap.
func (n *node) endGapIdle(idle time.Time) (message string) {
	since := n.gap.since
	if !n.gap.lost || !idle.After(since) {
		n.gap = gap{}
		return ""
	}
	n.closeGap(idle)
	return "; " + advice.Gap(since, idle)
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
			n.gap.unreported = true
		}
	}
}

// back reports that the node streams, and ends its gap.
func (n *node) back(ctx context.Context) {
	message := ""
	if since := n.gap.since; !since.IsZero() {
		now := time.Now()
		if !n.gap.unreported {
			message = fmt.Sprintf("connected again after %.1f s", wall(since, now).Seconds())
		}
		if n.gap.lost {
			message = "streaming again; " + advice.Gap(since, now)
		}
		n.closeGap(now)
	}
	if !n.streamed.Swap(true) {
		n.began.now()
		n.seen.now() // it has no earlier events
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

// wall is the time between by the wall clock: the monotonic clock stops while the machine sleeps.
func wall(from, to time.Time) time.Duration { return to.Round(0).Sub(from.Round(0)) }
