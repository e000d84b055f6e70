package plugin

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// admitting is a session within --max-nodes that starts no tracers.
func admitting(maxNodes int) (s *traceSession, stderr *bytes.Buffer) {
	stderr = &bytes.Buffer{}
	return &traceSession{
		config: &traceConfig{tracerConfig: tracerConfig{maxNodes: maxNodes}}, reporter: newReporter(stderr),
		nodes: map[string]*nodeState{}, settled: make(chan struct{}), ending: func() bool { return false }, end: func(error) {},
		readerGone: func() bool { return false },
	}, stderr
}

// places are those that nodes have taken which start.
func places() chan struct{} {
	starting := make(chan struct{}, 10)
	for range cap(starting) {
		starting <- struct{}{}
	}
	return starting
}

// TestMaxNodes_CountsLiveNodes has two nodes fail one after the other: each makes place for one that waits.
func TestMaxNodes_CountsLiveNodes(t *testing.T) {
	s, stderr := admitting(1)
	starting := places()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	started := make(chan string)
	go s.admitWaiting(ctx, starting, func(name string) { started <- name })
	for i, name := range []string{"a", "b", "c"} {
		if got := s.admit(name, starting); got != (i == 0) {
			t.Fatalf("node %s admitted: %v", name, got)
		}
	}
	if failed, all := s.failures(); failed != 2 || all {
		t.Errorf("%d failures, all %v: want the two that wait", failed, all)
	}
	for _, step := range [][2]string{{"a", "b"}, {"b", "c"}} {
		s.say(step[0], event.NodeState_NODE_STATE_FAILED, "not ready: gone")
		select {
		case name := <-started:
			if name != step[1] {
				t.Errorf("after %s: %s", step[0], name)
			}
		case <-ctx.Done():
			t.Fatalf("%s is never started", step[1])
		}
	}
	s.say("c", event.NodeState_NODE_STATE_STREAMING, "")
	s.reportUntraced()
	if failed, all := s.failures(); failed != 2 || all || strings.Contains(stderr.String(), "beyond") {
		t.Errorf("%d failures, all %v: want the two that are not ready; said %s", failed, all, stderr)
	}
	for _, line := range []string{"a: not ready: gone\n", "b: not ready: gone\n"} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("%q is not said: %s", line, stderr)
		}
	}
}

func TestMaxNodes_NodesBeyondAreNamedAndFailures(t *testing.T) {
	s, stderr := admitting(1)
	starting := places()
	for _, name := range []string{"a", "c", "b"} {
		s.admit(name, starting)
	}
	s.say("a", event.NodeState_NODE_STATE_STREAMING, "")
	s.reportUntraced()
	if want := "not traced, beyond --max-nodes 1: 2 nodes (b, c)\n"; !strings.Contains(stderr.String(), want) {
		t.Errorf("said %q, want %q", stderr, want)
	}
	if failed, all := s.failures(); failed != 2 || all {
		t.Errorf("%d failures, all %v", failed, all)
	}
}

func TestNode_ThatNeverStreamsIsAFailure(t *testing.T) {
	s, stderr := admitting(5)
	starting := places()
	for _, name := range []string{"slow", "new", "fine"} {
		s.admit(name, starting)
		s.nodes[name].admitted = time.Now().Add(-time.Minute)
	}
	s.nodes["new"].admitted = time.Now()
	s.say("fine", event.NodeState_NODE_STATE_STREAMING, "")
	s.say("slow", event.NodeState_NODE_STATE_STARTING, "scheduling: Insufficient cpu")
	s.ending = func() bool { return true }
	for name := range s.nodes {
		s.say(name, event.NodeState_NODE_STATE_STOPPED, "")
	}
	if failed, all := s.failures(); failed != 1 || all {
		t.Errorf("%d failures, all %v", failed, all)
	}
	if want := "slow: was never traced: scheduling: Insufficient cpu\n"; !strings.Contains(stderr.String(), want) {
		t.Errorf("said %q, want %q", stderr, want)
	}
}

func TestNode_StillStartingIsNoFailureWhenTheReaderLeaves(t *testing.T) {
	s, stderr := admitting(5)
	s.admit("slow", places())
	s.nodes["slow"].admitted = time.Now().Add(-time.Minute)
	s.say("slow", event.NodeState_NODE_STATE_STARTING, "starting the container")
	s.ending, s.readerGone = func() bool { return true }, func() bool { return true }
	s.say("slow", event.NodeState_NODE_STATE_STOPPED, "")
	if failed, _ := s.failures(); failed != 0 || strings.Contains(stderr.String(), "never traced") {
		t.Errorf("%d failures; said %q", failed, stderr)
	}
}
