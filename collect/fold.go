package collect

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// foldParts is the number of an end's parts from which its closed ones are summed up. A program that repeatedly
	// binds one UDP port makes a part with each socket, and the cost of a flow is proportional to its parts.
	foldParts = 8
	// maxOpenParts limits the open parts of an end: a socket that talks to a Service has at most one per backend.
	// Further parts become separate flows.
	maxOpenParts = 64
)

// folded is the sum of closed parts of an end.
type folded struct {
	counters    counters
	start, last uint64
}

// makeRoom sums up the closed parts of an end, and reports whether it may have another part.
func (c *Collector) makeRoom(f *flow, side int, now time.Time) bool {
	e := &f.ends[side]
	if len(e.parts) < foldParts {
		return true
	}
	open := e.parts[:0]
	for _, p := range e.parts {
		if !p.closed {
			open = append(open, p)
			continue
		}
		if e.folded == nil {
			e.folded = &folded{start: p.start}
		}
		e.folded.add(p)
		c.rememberPart(p, now)
		c.index.remove(p)
		c.flowBytes -= int(p.bytes)
		p.bytes = 0
	}
	clear(e.parts[len(open):])
	e.parts = open
	return len(open) < maxOpenParts
}

func (s *folded) add(p *part) {
	s.counters.add(p.base)
	s.counters.add(p.own())
	if p.start != 0 && p.start < s.start {
		s.start = p.start
	}
	s.last = max(s.last, p.report.last)
}

// release removes the memory of a flow's parts from the account, and returns it.
func (f *flow) release() (n int) {
	for i := range f.ends {
		for _, p := range f.ends[i].parts {
			n += int(p.bytes)
			p.bytes = 0
		}
	}
	return n
}

// eventBytes is the approximate memory of an event without its strings.
const eventBytes = 512

// bytesOf returns the approximate memory of an event.
func bytesOf(ev *event.Event) int { return eventBytes + proto.Size(ev) }
