package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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

	// path is the file that keeps the gaps for the next process; empty: nothing is kept. One goroutine writes it.
	path string
	log  *slog.Logger
}

// maxSeen limits the file, bytes: orbit.MaxSpans take less.
const maxSeen = 8 << 10

// newSeen begins with the oldest and the newest event of a history of an earlier process; 0 without one.
func newSeen(oldest, newest uint64) *seen {
	s := &seen{since: oldest, log: slog.New(slog.DiscardHandler)}
	if oldest > 0 {
		s.gaps = []*orbit.Span{{From: newest}}
	}
	return s
}

// openSeen begins with the gaps, too, that the earlier process has left in a directory, and keeps them there.
func openSeen(dir string, log *slog.Logger, oldest, newest uint64) *seen {
	s := newSeen(oldest, newest)
	s.path, s.log = filepath.Join(dir, "seen"), log
	var kept orbit.AgentHello
	err := readCheckpoint(s.path, maxSeen, &kept)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("the times that the process before did not observe are not known", "err", err)
	}
	if err == nil && oldest > 0 {
		// Gaps before the history are of no use, and what happened since its end is not known.
		s.gaps = orbit.MergeSpans(append(orbit.ClipSpans(kept.GetGaps(), oldest, newest), s.gaps...)...)
	}
	return s
}

// keep writes the file.
func (s *seen) keep() {
	if s.path == "" {
		return
	}
	h := &orbit.AgentHello{}
	s.describe(h)
	if err := writeCheckpoint(s.path, h); err != nil {
		s.log.Warn("the times that are not observed are not kept for the next process", "err", err)
	}
}

// begin notes that the probes are attached.
func (s *seen) begin(at uint64) {
	defer s.keep() // without the lock: answers do not wait for the disk
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
	defer s.keep()
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
