package plugin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// admission keeps the nodes that have a tracer or get one within --max-nodes. The session's lock guards it.
type admission struct {
	// waiting are the nodes beyond, in the order in which they got a target.
	waiting []string
	freed   chan struct{} // closed and made anew where a place may have become free
}

// live is how many nodes have a tracer or get one: not those that have failed or have nothing to trace. s.mu is held.
func (s *traceSession) live() (count int) {
	for _, n := range s.nodes {
		if n.state != event.NodeState_NODE_STATE_FAILED && n.state != event.NodeState_NODE_STATE_STOPPED {
			count++
		}
	}
	return count
}

// admit takes a node on, within --max-nodes. One beyond waits until another one needs its tracer no more.
func (s *traceSession) admit(name string, starting chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live() >= s.config.maxNodes {
		s.waiting = append(s.waiting, name)
		s.reporter.once("note: there are targets on more than %d nodes; the others are not traced: raise --max-nodes", s.config.maxNodes)
		return false
	}
	s.add(name, starting)
	return true
}

// add takes a node on. s.mu is held.
func (s *traceSession) add(name string, starting chan struct{}) {
	s.nodes[name] = &nodeState{
		state: event.NodeState_NODE_STATE_STARTING, admitted: time.Now(), settled: sync.OnceFunc(func() { <-starting }),
	}
}

// wakeWaiting has those who wait for a place look again. s.mu is held.
func (s *traceSession) wakeWaiting() {
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// place waits until take, called with s.mu held, finds a place.
func (s *traceSession) place(ctx context.Context, take func() bool) error {
	for {
		s.mu.Lock()
		if ctx.Err() == nil && s.live() < s.config.maxNodes && take() {
			s.mu.Unlock()
			return nil
		}
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// admitWaiting starts the nodes that wait as places become free, until ctx ends.
func (s *traceSession) admitWaiting(ctx context.Context, starting chan struct{}, start func(name string)) {
	for {
		name := ""
		err := s.place(ctx, func() bool {
			if len(s.waiting) == 0 {
				return false
			}
			name, s.waiting = s.waiting[0], s.waiting[1:]
			s.add(name, starting)
			return true
		})
		if err != nil {
			return
		}
		start(name)
	}
}

// readmit waits until a node that has something to trace again may have a tracer.
func (s *traceSession) readmit(ctx context.Context, name string) error {
	return s.place(ctx, func() bool {
		s.nodes[name].state = event.NodeState_NODE_STATE_STARTING
		return true
	})
}

// reportUntraced names the nodes that never got a tracer.
func (s *traceSession) reportUntraced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return
	}
	slices.Sort(s.waiting)
	names, more := s.waiting, ""
	if len(names) > maxAlike {
		names, more = names[:maxAlike], ", …"
	}
	s.reporter.line("not traced, beyond --max-nodes %d: %s (%s%s)", s.config.maxNodes, plural.Count(len(s.waiting), "node"), strings.Join(names, ", "), more)
}

// ofTheNode reports whether a failure is the node's own, and so may be another one on each node.
func ofTheNode(message string) bool {
	reason, _, _ := strings.Cut(message, ": ")
	return slices.Contains([]string{"platform", "kernel", "kubelet", "scheduling", launch.ReasonNotReady}, reason)
}
