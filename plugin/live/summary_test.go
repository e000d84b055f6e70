package live

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// closingLine returns the closing line of a session.
func closingLine(s *Session) string { return s.nodes.tally(5, 10*time.Second, nil).String() + "\n" }

func TestTally_FailedNodeIsGapToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTestSession(t, Config{}, "n1", "n2")
		s.nodes.onStatus("n1", streaming, "")
		s.nodes.onStatus("n2", streaming, "")
		err := errors.New("tracer: a probe died")
		s.nodes.onStatus("n2", failed, err.Error())
		s.nodes.onGap("n2", 40*time.Millisecond)
		s.nodes.onEnd("n2", err)
		time.Sleep(7 * time.Second)
		s.End(ErrDone)
		s.nodes.stop()
		time.Sleep(3 * time.Second) // the other node's last events
		want := "5 events from 2 nodes in 10s; LOST all of n2 for 7.1 s\n"
		if got := closingLine(s); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	})
}

func TestTally_NodesNeverTraced(t *testing.T) {
	s, _ := newTestSession(t, Config{}, "n1", "n2", "n3")
	s.nodes.waiting = []string{"n4"}
	err := errors.New("image: no such image")
	s.nodes.onStatus("n2", failed, err.Error())
	s.nodes.onEnd("n2", err)
	if got, want := closingLine(s), "5 events in 10s: nothing was traced\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	s.nodes.onStatus("n1", streaming, "")
	if got, want := closingLine(s), "5 events from 1 of 3 nodes in 10s; nothing lost\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestTally_ShortGapIsNotZero(t *testing.T) {
	s, _ := newTestSession(t, Config{}, "n1")
	s.nodes.onStatus("n1", streaming, "")
	s.nodes.onGap("n1", time.Millisecond)
	if got, want := closingLine(s), "5 events from 1 node in 10s; LOST all of n1 for 0.1 s\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if tally := s.nodes.tally(0, 0, nil); !tally.Lost() {
		t.Errorf("%v counts as no loss", tally.Gaps)
	}
}

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		nodes      []event.NodeState
		cause, out error
		want       error
	}{
		"done":         {nodes: []event.NodeState{streaming, streaming}, cause: ErrDone},
		"nobody reads": {nodes: []event.NodeState{streaming}, cause: ErrDone, out: io.ErrClosedPipe},
		"stdout fails": {nodes: []event.NodeState{streaming}, cause: ErrDone, out: os.ErrPermission,
			want: os.ErrPermission},
		"interrupted":     {nodes: []event.NodeState{streaming, failed}, cause: ErrInterrupted, want: ErrInterrupted},
		"some failed":     {nodes: []event.NodeState{streaming, failed}, cause: ErrDone, want: ErrSomeFailed},
		"all failed":      {nodes: []event.NodeState{failed, failed}, cause: ErrAllFailed, want: ErrAllFailed},
		"nothing matched": {cause: ErrDone},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newTestSession(t, Config{})
			for i, state := range test.nodes {
				s.nodes.byName[string(rune('a'+i))] = &nodeState{state: state, failure: "x"}
			}
			if err := s.nodes.verdict(test.cause, test.out); !errors.Is(err, test.want) ||
				(err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestSummary_WaitsAndNamesFailures(t *testing.T) {
	s, status := newTestSession(t, Config{}, "n1", "n2", "n3")
	s.nodes.onStatus("n1", starting, "creating the tracer's Job")
	s.nodes.onStatus("n1", streaming, "")
	s.nodes.onStatus("n2", failed, "image: can not pull x\x1b[2J")
	if got := status.String(); strings.Contains(got, "streaming") || strings.Contains(got, "creating") {
		t.Errorf("logged too early or too much: %q", got)
	}
	s.nodes.onStatus("n3", failed, "image: can not pull x\x1b[2J")
	want := "1/3 nodes streaming; n2: image; n3: image\n"
	if got := status.String(); !strings.HasSuffix(got, want) || strings.Count(got, "can not pull") != 1 {
		t.Errorf("logged %q, want %q at the end and the reason once", got, want)
	}
}

func TestSummary_NoneWhereAllFailAtOnce(t *testing.T) {
	s, status := newTestSession(t, Config{}, "n1", "n2")
	for _, name := range []string{"n1", "n2"} {
		s.nodes.onStatus(name, failed, "quota: exceeded")
	}
	if want := "n1: quota: exceeded\n"; status.String() != want {
		t.Errorf("logged %q, want %q", status, want)
	}
	err := s.nodes.verdict(ErrAllFailed, nil)
	if !errors.Is(err, ErrAllFailed) || err.Error() != "no node could be traced: quota: exceeded" {
		t.Errorf("error %v", err)
	}
}

func TestSummary_NodeWithoutTargetsIsNotCounted(t *testing.T) {
	s, status := newTestSession(t, Config{}, "n1", "n2")
	for _, name := range []string{"n1", "n2"} {
		s.nodes.onStatus(name, streaming, "")
	}
	status.Reset()
	s.nodes.onStatus("n2", stopped, "tracer ended; nothing on the node is to be traced any more")
	want := "n2: tracer ended; nothing on the node is to be traced any more\n1/1 node streaming\n"
	if status.String() != want {
		t.Errorf("logged %q, want %q", status, want)
	}
	status.Reset()
	s.nodes.onStatus("n1", stopped, "")
	s.nodes.onStatus("n2", streaming, "")
	s.End(ErrDone)
	s.nodes.onStatus("n2", stopped, "")
	if status.Len() > 0 {
		t.Errorf("another node streams now, and the end has no summary, but logged %q", status)
	}
}
