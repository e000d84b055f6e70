package live

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

// admission keeps the nodes that have a tracer or get one within Config.MaxNodes. The lock of nodes guards it.
type admission struct {
	// waiting are the nodes beyond MaxNodes, in the order in which they got a target.
	waiting []string
	freed   chan struct{} // closed and made anew where a place may have become free
}

// live is how many nodes have a tracer or get one: not those that have failed or have nothing to trace. The lock is
// held.
func (n *nodes) live() (count int) {
	for _, node := range n.byName {
		if node.state != event.NodeState_NODE_STATE_FAILED && node.state != event.NodeState_NODE_STATE_STOPPED {
			count++
		}
	}
	return count
}

// admit adds a node if there is a place for it. Else the node waits until another one needs its tracer no more.
func (n *nodes) admit(name string, starting chan struct{}) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.live() >= n.config.MaxNodes {
		n.waiting = append(n.waiting, name)
		n.status.LogOncef(
			"note: there are targets on more than %d nodes; the others are not traced: raise --max-nodes",
			n.config.MaxNodes,
		)
		return false
	}
	n.add(name, starting)
	return true
}

// add adds a node that starts. The lock is held.
func (n *nodes) add(name string, starting chan struct{}) {
	n.byName[name] = &nodeState{
		state: event.NodeState_NODE_STATE_STARTING, admitted: time.Now(), settled: sync.OnceFunc(func() { <-starting }),
	}
}

// wakeWaiting has all who wait for a place check again. The lock is held.
func (n *nodes) wakeWaiting() {
	if n.freed != nil {
		close(n.freed)
		n.freed = nil
	}
}

// place waits until take, called with the lock held, finds a place.
func (n *nodes) place(ctx context.Context, take func() bool) error {
	for {
		n.mu.Lock()
		if ctx.Err() == nil && n.live() < n.config.MaxNodes && take() {
			n.mu.Unlock()
			return nil
		}
		if n.freed == nil {
			n.freed = make(chan struct{})
		}
		freed := n.freed
		n.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// admitWaiting starts waiting nodes as places become free, until ctx ends.
func (n *nodes) admitWaiting(ctx context.Context, starting chan struct{}, start func(name string)) {
	for {
		name := ""
		err := n.place(ctx, func() bool {
			if len(n.waiting) == 0 {
				return false
			}
			name, n.waiting = n.waiting[0], n.waiting[1:]
			n.add(name, starting)
			return true
		})
		if err != nil {
			return
		}
		start(name)
	}
}

// readmit waits until a node that has something to trace again may have a tracer.
func (n *nodes) readmit(ctx context.Context, name string) error {
	return n.place(ctx, func() bool {
		n.byName[name].state = event.NodeState_NODE_STATE_STARTING
		return true
	})
}

// logWaiting names the nodes that still wait at the end.
func (n *nodes) logWaiting() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == 0 {
		return
	}
	slices.Sort(n.waiting)
	names, more := n.waiting, ""
	if len(names) > maxAlike {
		names, more = names[:maxAlike], ", …"
	}
	n.status.Logf(
		"not traced, beyond --max-nodes %d: %s (%s%s)",
		n.config.MaxNodes,
		plural.Count(len(n.waiting), "node"),
		strings.Join(names, ", "),
		more,
	)
}

// ofTheNode reports whether the node itself causes a failure, so that each node may have another one.
func ofTheNode(message string) bool {
	reason, _, _ := strings.Cut(message, ": ")
	return slices.Contains([]string{"platform", "kernel", "kubelet", "scheduling", launch.ReasonNotReady}, reason)
}
