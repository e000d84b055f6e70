package remote

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
)

// gaps are the times of an answer in which nothing was seen of its nodes, by node.
type gaps map[string]*nodeGaps

type nodeGaps struct {
	// past are those that servers before the present one have reported, present are this one's.
	past, present []*orbit.Span
}

// set takes the coverage of a node, and describes the last time that has ended; "" if none has.
func (g gaps) set(c *orbit.NodeCoverage) (ended string) {
	n := g[c.GetNode()]
	if n == nil {
		n = &nodeGaps{}
		g[c.GetNode()] = n
	}
	before := closed(n.all())
	n.present = orbit.MergeSpans(c.GetGaps()...)
	now := closed(n.all())
	if len(now) == 0 {
		return ""
	}
	last := now[len(now)-1]
	if len(before) > 0 && before[len(before)-1].GetTo() == last.GetTo() {
		return ""
	}
	return advice.Gap(time.Unix(0, int64(last.GetFrom())), time.Unix(0, int64(last.GetTo())))
}

func (n *nodeGaps) all() []*orbit.Span { return orbit.MergeSpans(append(n.present, n.past...)...) }

// closed leaves the last time out where that lasts.
func closed(all []*orbit.Span) []*orbit.Span {
	if n := len(all); n > 0 && all[n-1].GetTo() == 0 {
		return all[:n-1]
	}
	return all
}

// resume begins with another server, which goes on from a time on. It returns the nodes that have not answered since an
// earlier time, with that time.
func (g gaps) resume(since uint64) (lagging map[string]uint64) {
	for name, n := range g {
		all := n.all()
		n.past, n.present = closed(all), nil
		if len(n.past) == len(all) {
			continue
		}
		if from := all[len(all)-1].GetFrom(); from < since {
			if lagging == nil {
				lagging = map[string]uint64{}
			}
			lagging[name] = from
		}
	}
	return lagging
}

// sums returns how long each node was not seen.
func (g gaps) sums(now time.Time) map[string]time.Duration {
	sums := map[string]time.Duration{}
	for name, n := range g {
		if sum := orbit.SpanSum(n.all(), now); sum > 0 {
			sums[name] = sum
		}
	}
	return sums
}

// gapsOf returns how long each node of a query was not seen.
func gapsOf(c *orbit.Coverage, now time.Time) map[string]time.Duration {
	g := gaps{}
	for _, n := range c.GetNodes() {
		g.set(n)
	}
	return g.sums(now)
}
