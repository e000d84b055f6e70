package remote

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// skews are the clocks of nodes minus that of the server, ns, where they differ.
type skews map[string]int64

func (s skews) set(c *orbit.NodeCoverage) {
	switch {
	case c.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK: // the last one holds
	case c.GetClockSkew() == 0:
		delete(s, c.GetNode())
	default:
		s[c.GetNode()] = c.GetClockSkew()
	}
}

// serverTime is the time of an event by the server's clock, ns since the Unix epoch, or an earlier one: that of a flow
// between two nodes is either's.
func (s skews) serverTime(ev *event.Event) uint64 {
	if len(s) == 0 {
		return ev.GetTime()
	}
	f := ev.GetFlow()
	ahead := max(s[ev.GetNode()], s[f.GetSrc().GetNode()], s[f.GetDst().GetNode()])
	return shift(ev.GetTime(), -ahead)
}

// add makes a request begin at its time by the clock of each node, but for nodes that it names already.
func (s skews) add(r *orbit.StreamRequest) {
	for node, skew := range s {
		if _, known := r.GetNodeSince()[node]; known {
			continue
		}
		if r.NodeSince == nil {
			r.NodeSince = map[string]uint64{}
		}
		r.NodeSince[node] = shift(r.GetSince(), skew)
	}
}

func shift(time uint64, by int64) uint64 {
	if by < 0 {
		return time - min(time, uint64(-by))
	}
	return time + uint64(by)
}
