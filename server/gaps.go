package server

import "github.com/orb8-dev/kubectl-orb8/event/orbit"

// gaps keeps the times of a node's stream in which nothing was seen of it. Times are ns since the Unix epoch, by the
// node's clock.
type gaps struct {
	// past are those of agents before the present one.
	past []*orbit.Span
	// from is where the stream of the present agent begins; present are its gaps, instance and since what it
	// reports of itself.
	from, instance, since uint64
	present               []*orbit.Span
	followed              bool
}

// gapsOf returns the gaps of an agent, bounded: an agent is not trusted with their number.
func gapsOf(h *orbit.AgentHello) []*orbit.Span { return orbit.MergeSpans(h.GetGaps()...) }

// follow takes the description of an agent whose stream goes on from a time, and returns all gaps.
func (g *gaps) follow(h *orbit.AgentHello, from uint64) []*orbit.Span {
	if !g.followed || h.GetInstance() != g.instance {
		g.past, g.from = g.all(from), from
	}
	g.followed, g.instance, g.since, g.present = true, h.GetInstance(), h.GetKnownSince(), gapsOf(h)
	return g.all(0)
}

// all returns the gaps up to a time; 0: now.
func (g *gaps) all(until uint64) []*orbit.Span {
	if !g.followed {
		return nil
	}
	all := orbit.ClipSpans(g.present, g.from, until)
	// What was before the agent is lost. One that has not observed yet does not know what is.
	if g.since > g.from || g.since == 0 {
		all = append(all, orbit.ClipSpans([]*orbit.Span{{From: g.from, To: g.since}}, 0, until)...)
	}
	return orbit.MergeSpans(append(all, g.past...)...)
}

// cut returns the gaps of a stream that was read up to a time and has no agent now.
func (g *gaps) cut(at uint64) []*orbit.Span {
	return orbit.MergeSpans(append(g.all(at), &orbit.Span{From: at})...)
}
