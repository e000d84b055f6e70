package collect

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// foldParts is how many parts an end may have before its closed ones are summed up. A program that binds one UDP
	// port again and again makes one with each socket, and all work on a flow takes time in proportion to its parts.
	foldParts = 8
	// maxOpenParts is how many parts an end may have that are not closed: a socket that talks to a Service has one for
	// each backend at most. What comes beyond it is a flow of its own.
	maxOpenParts = 64
)

// folded is the sum of closed parts of an end.
type folded struct {
	counters    event.Counters
	start, last uint64
}

// makeRoom reports whether an end may have another part, after it has summed up those that are closed.
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
		c.flowBytes -= p.bytes
		p.bytes = 0
	}
	clear(e.parts[len(open):])
	e.parts = open
	return len(open) < maxOpenParts
}

func (s *folded) add(p *part) {
	addCounters(&s.counters, p.base)
	addCounters(&s.counters, p.own())
	if p.start != 0 && p.start < s.start {
		s.start = p.start
	}
	s.last = max(s.last, p.ev.GetFlow().GetLastTime())
}

// release returns how much memory the events of a flow take, which is not accounted for any more.
func (f *flow) release() (n int) {
	for i := range f.ends {
		for _, p := range f.ends[i].parts {
			n += p.bytes
			p.bytes = 0
		}
	}
	return n
}

// eventBytes is the memory of an event without its texts, roughly.
const eventBytes = 512

// flowBytes is how much memory a flow event of a tracer takes, roughly.
func flowBytes(ev *event.Event) int {
	f := ev.GetFlow()
	return eventBytes + len(ev.Node) + len(ev.Namespace) + len(ev.Pod) + len(ev.PodUid) + len(ev.Container) +
		len(ev.Workload) + len(f.Id) + endpointBytes(f.Src) + endpointBytes(f.Dst)
}

func endpointBytes(e *event.Endpoint) int {
	if e == nil {
		return 0
	}
	return len(e.Address) + len(e.Namespace) + len(e.Pod) + len(e.PodUid) + len(e.Container) + len(e.Workload) +
		len(e.Node) + len(e.Comm) + len(e.Service) + len(e.ServiceNamespace) + len(e.ServiceAddress) + len(e.Host)
}

// bytesOf is how much memory another event takes, roughly.
func bytesOf(ev *event.Event) int { return eventBytes + proto.Size(ev) }
