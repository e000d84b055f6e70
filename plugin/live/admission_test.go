package live

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// admitting is a session within MaxNodes that starts no tracers.
func admitting(t *testing.T, maxNodes int) (*nodes, *log) {
	s, status := newTestSession(t, Config{MaxNodes: maxNodes})
	return s.nodes, status
}

// places are those that nodes have taken which start.
func places() chan struct{} {
	starting := make(chan struct{}, 10)
	for range cap(starting) {
		starting <- struct{}{}
	}
	return starting
}

// TestMaxNodes_CountsLiveNodes fails two nodes one after the other: each makes room for a waiting one.
func TestMaxNodes_CountsLiveNodes(t *testing.T) {
	n, stderr := admitting(t, 1)
	starting := places()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	started := make(chan string)
	go n.admitWaiting(ctx, starting, func(name string) { started <- name })
	for i, name := range []string{"a", "b", "c"} {
		if got := n.admit(name, starting); got != (i == 0) {
			t.Fatalf("node %s admitted: %v", name, got)
		}
	}
	if failed, all := n.failures(); failed != 2 || all {
		t.Errorf("%d failures, all %v: want the two that wait", failed, all)
	}
	for _, step := range [][2]string{{"a", "b"}, {"b", "c"}} {
		n.onStatus(step[0], event.NodeState_NODE_STATE_FAILED, "not ready: gone")
		select {
		case name := <-started:
			if name != step[1] {
				t.Errorf("after %s: %s", step[0], name)
			}
		case <-ctx.Done():
			t.Fatalf("%s is never started", step[1])
		}
	}
	n.onStatus("c", event.NodeState_NODE_STATE_STREAMING, "")
	n.logWaiting()
	if failed, all := n.failures(); failed != 2 || all || strings.Contains(stderr.String(), "beyond") {
		t.Errorf("%d failures, all %v: want the two that are not ready; said %s", failed, all, stderr)
	}
	for _, line := range []string{"a: not ready: gone\n", "b: not ready: gone\n"} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("%q is not said: %s", line, stderr)
		}
	}
}

func TestMaxNodes_ReportsExcessNodes(t *testing.T) {
	n, stderr := admitting(t, 1)
	starting := places()
	for _, name := range []string{"a", "c", "b"} {
		n.admit(name, starting)
	}
	n.onStatus("a", event.NodeState_NODE_STATE_STREAMING, "")
	n.logWaiting()
	if want := "not traced, beyond --max-nodes 1: 2 nodes (b, c)\n"; !strings.Contains(stderr.String(), want) {
		t.Errorf("said %q, want %q", stderr, want)
	}
	if failed, all := n.failures(); failed != 2 || all {
		t.Errorf("%d failures, all %v", failed, all)
	}
}

func TestNode_FailsWithoutStreaming(t *testing.T) {
	n, stderr := admitting(t, 5)
	starting := places()
	for _, name := range []string{"slow", "new", "fine"} {
		n.admit(name, starting)
		n.byName[name].admitted = time.Now().Add(-time.Minute)
	}
	n.byName["new"].admitted = time.Now()
	n.onStatus("fine", event.NodeState_NODE_STATE_STREAMING, "")
	n.onStatus("slow", event.NodeState_NODE_STATE_STARTING, "scheduling: Insufficient cpu")
	n.end(ErrDone)
	for name := range n.byName {
		n.onStatus(name, event.NodeState_NODE_STATE_STOPPED, "")
	}
	if failed, all := n.failures(); failed != 1 || all {
		t.Errorf("%d failures, all %v", failed, all)
	}
	if want := "slow: was never traced: scheduling: Insufficient cpu\n"; !strings.Contains(stderr.String(), want) {
		t.Errorf("said %q, want %q", stderr, want)
	}
}

func TestNode_MayStartAsReaderLeaves(t *testing.T) {
	n, stderr := admitting(t, 5)
	n.admit("slow", places())
	n.byName["slow"].admitted = time.Now().Add(-time.Minute)
	n.onStatus("slow", event.NodeState_NODE_STATE_STARTING, "starting the container")
	n.end(ErrReaderGone)
	n.onStatus("slow", event.NodeState_NODE_STATE_STOPPED, "")
	if failed, _ := n.failures(); failed != 0 || strings.Contains(stderr.String(), "never traced") {
		t.Errorf("%d failures; said %q", failed, stderr)
	}
}
