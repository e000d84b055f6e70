package plugin

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// replayGaps are the times in which nodes of a recording were not seen after they had streamed, by node.
type replayGaps map[string]*replayGap

type replayGap struct {
	streamed bool
	since    uint64 // ns since the Unix epoch; 0: it is seen
	total    time.Duration
}

// note updates a node's gap from a nodeStatus event. The times come from a recording: they may be anything.
func (g replayGaps) note(ev *event.Event) {
	s := ev.GetNodeStatus()
	if s == nil {
		return
	}
	n := g[ev.GetNode()]
	if n == nil {
		n = &replayGap{}
		g[ev.GetNode()] = n
	}
	switch s.GetState() {
	case event.NodeState_NODE_STATE_STREAMING, event.NodeState_NODE_STATE_STOPPED:
		n.total = min(n.total+n.length(ev.GetTime()), maxReplayGap)
		n.since, n.streamed = 0, n.streamed || s.GetState() == event.NodeState_NODE_STATE_STREAMING
	case event.NodeState_NODE_STATE_RECONNECTING, event.NodeState_NODE_STATE_FAILED:
		if n.streamed && n.since == 0 {
			n.since = max(ev.GetTime(), 1)
		}
	}
}

// length is how long the gap is at a time, a moment at least; 0: there is none.
func (n *replayGap) length(at uint64) time.Duration {
	if n.since == 0 {
		return 0
	}
	return time.Duration(min(max(at, n.since+1)-n.since, uint64(maxReplayGap)))
}

// maxReplayGap keeps sums of gaps from overflowing.
const maxReplayGap = 365 * 24 * time.Hour

// until returns the sum of each node's gaps up to a time.
func (g replayGaps) until(at uint64) map[string]time.Duration {
	gaps := map[string]time.Duration{}
	for name, n := range g {
		if d := n.total + n.length(at); d > 0 {
			gaps[name] = d
		}
	}
	return gaps
}
