package server

import "github.com/orb8-dev/kubectl-orb8/event/orbit"

// unseen keeps the times of a node's stream in which nothing was seen of it. Times are ns since the Unix epoch, by the
// node's clock.
type unseen struct {
	// past are those of agents before the present one.
	past []*orbit.Span
	// from is where the stream of the present agent begins.
	from  uint64
	hello *orbit.AgentHello // of the present agent
}

// follow takes the description of an agent whose stream goes on from a time, and returns all unseen times.
func (u *unseen) follow(h *orbit.AgentHello, from uint64) []*orbit.Span {
	if h.GetInstance() != u.hello.GetInstance() {
		u.past, u.from = u.all(from), from
	}
	u.hello = h
	return u.all(0)
}

// all returns the unseen times up to one; 0: now.
func (u *unseen) all(until uint64) []*orbit.Span {
	if u.hello == nil {
		return nil
	}
	all := orbit.ClipSpans(u.hello.GetUnseen(), u.from, until)
	// What was before the agent is lost. One that has not observed yet does not know what is.
	if since := u.hello.GetKnownSince(); since > u.from || since == 0 {
		all = append(all, orbit.ClipSpans([]*orbit.Span{{From: u.from, To: since}}, 0, until)...)
	}
	return orbit.MergeSpans(append(all, u.past...)...)
}

// cut returns the unseen times of a stream that was read up to a time and has no agent now.
func (u *unseen) cut(at uint64) []*orbit.Span {
	return orbit.MergeSpans(append(u.all(at), &orbit.Span{From: at})...)
}
