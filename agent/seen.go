package agent

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// seen keeps the times in which the agent observes. Times are ns since the Unix epoch.
type seen struct {
	mu    sync.Mutex
	since uint64 // when it began, or what its history begins with; 0: not yet
	gaps  []*orbit.Span
	// version counts the changes.
	version uint64
}

// newSeen begins with the oldest and the newest event of a history of an earlier process; 0 without one.
func newSeen(oldest, newest uint64) *seen {
	s := &seen{since: oldest}
	if oldest > 0 {
		s.gaps = []*orbit.Span{{From: newest}}
	}
	return s
}

// begin notes that the probes are attached.
func (s *seen) begin(at uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if s.since == 0 {
		s.since = at
	}
	if n := len(s.gaps); n > 0 && s.gaps[n-1].GetTo() == 0 {
		s.gaps[n-1] = &orbit.Span{From: s.gaps[n-1].GetFrom(), To: max(at, s.gaps[n-1].GetFrom()+1)}
	}
}

// end notes that what happens after a time is not observed.
func (s *seen) end(at uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since == 0 {
		return
	}
	s.version++
	s.gaps = orbit.MergeSpans(append(s.gaps, &orbit.Span{From: at})...)
}

// describe adds the times to the head of an answer, and returns their version.
func (s *seen) describe(h *orbit.AgentHello) (version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.KnownSince = s.since
	for _, g := range s.gaps {
		h.Gaps = append(h.Gaps, proto.Clone(g).(*orbit.Span))
	}
	return s.version
}

// changed reports whether another version is in force.
func (s *seen) changed(version uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version != version
}
