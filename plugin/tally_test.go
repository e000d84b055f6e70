package plugin

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	streaming = event.NodeState_NODE_STATE_STREAMING
	failed    = event.NodeState_NODE_STATE_FAILED
)

// newTestSession is a session of these nodes, and what it writes. ended reports whether its orderly end has begun.
func newTestSession(ended *bool, nodes ...string) (*traceSession, *bytes.Buffer) {
	var out bytes.Buffer
	s := &traceSession{
		settled: make(chan struct{}), config: &traceConfig{failOnLoss: true}, reporter: newReporter(&out),
		nodes: map[string]*nodeState{}, ending: func() bool { return *ended }, end: func(error) {},
		readerGone: func() bool { return false },
	}
	for _, name := range nodes {
		s.nodes[name] = &nodeState{settled: func() {}, state: event.NodeState_NODE_STATE_STARTING, admitted: time.Now()}
	}
	return s, &out
}

// closingLine is what the session says at its end.
func closingLine(s *traceSession) string {
	return s.tally(5, 10*time.Second, nil).String() + "\n"
}

func TestTally_NodeThatFailedIsUnseenToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		s, _ := newTestSession(&ended, "n1", "n2")
		s.say("n1", streaming, "")
		s.say("n2", streaming, "")
		err := errors.New("tracer: a probe died")
		s.say("n2", failed, err.Error())
		s.notSeen("n2", 40*time.Millisecond)
		s.ended("n2", err)
		time.Sleep(7 * time.Second)
		ended = true
		s.stop()
		time.Sleep(3 * time.Second) // the other node's last events
		want := "5 events from 2 nodes in 10s; LOST all of n2 for 7.1 s\n"
		if got := closingLine(s); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	})
}

func TestTally_NodesThatWereNeverTraced(t *testing.T) {
	ended := false
	s, _ := newTestSession(&ended, "n1", "n2", "n3")
	s.waiting = []string{"n4"}
	err := errors.New("image: no such image")
	s.say("n2", failed, err.Error())
	s.ended("n2", err)
	if got, want := closingLine(s), "5 events in 10s: nothing was traced\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	s.say("n1", streaming, "")
	if got, want := closingLine(s), "5 events from 1 of 3 nodes in 10s; nothing lost\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestTally_ShortGapIsNotZero(t *testing.T) {
	ended := false
	s, _ := newTestSession(&ended, "n1")
	s.say("n1", streaming, "")
	s.notSeen("n1", time.Millisecond)
	if got, want := closingLine(s), "5 events from 1 node in 10s; LOST all of n1 for 0.1 s\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if exit := (*exitError)(nil); !errors.As(s.verdict(context.Canceled, nil, s.tally(0, 0, nil)), &exit) || exit.code != ExitLost {
		t.Errorf("exit %+v, want code %d", exit, ExitLost)
	}
}
