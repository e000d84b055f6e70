package plugin

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
)

// statusAt is a nodeStatus event, seconds after the start of the recording.
func statusAt(node string, second int, state event.NodeState) *event.Event {
	return &event.Event{
		Time: uint64(began.Add(time.Duration(second) * time.Second).UnixNano()), Node: node,
		Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{State: state}},
	}
}

const (
	streaming = event.NodeState_NODE_STATE_STREAMING
	failed    = event.NodeState_NODE_STATE_FAILED
)

func TestReplay_ClosingLineNamesGaps(t *testing.T) {
	const (
		cut     = event.NodeState_NODE_STATE_RECONNECTING
		stopped = event.NodeState_NODE_STATE_STOPPED
	)
	for name, test := range map[string]struct {
		statuses []*event.Event
		want     string
	}{
		"none": {[]*event.Event{statusAt("n1", 0, streaming), statusAt("n1", 9, stopped)}, "nothing lost"},
		"a tracer was lost": {
			[]*event.Event{statusAt("n1", 0, streaming), statusAt("n1", 2, cut), statusAt("n1", 5, streaming),
				statusAt("n1", 9, stopped)},
			"LOST all of n1 for 3.0 s",
		},
		"two, the last to the end": {
			[]*event.Event{
				statusAt("n1", 0, streaming), statusAt("n1", 2, cut), statusAt("n1", 4, streaming),
				statusAt("n1", 5, cut),
				statusAt("n2", 8, streaming),
			}, "LOST all of n1 for 5.0 s",
		},
		"at the very end": {[]*event.Event{statusAt("n1", 0, streaming), statusAt("n1", 9, cut)},
			"LOST all of n1 for 0.1 s"},
		"a node failed": {
			[]*event.Event{statusAt("n1", 0, streaming), statusAt("n1", 2, failed), statusAt("n2", 9, streaming)},
			"LOST all of n1 for 7.0 s",
		},
		"a node never streamed": {[]*event.Event{statusAt("n1", 0, failed), statusAt("n2", 9, streaming)},
			"nothing lost"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.orb8")
			w, err := history.Create(path, history.Session{Version: "v9", Kinds: []string{"dns"}, Started: began})
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range test.statuses {
				if err := w.Write(ev); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			want := ExitOK
			if test.want != "nothing lost" {
				want = ExitLost
			}
			code, _, errOut := orb8(t, nil, "replay", path, "--fail-on-loss")
			if code != want || !strings.Contains(errOut, "; "+test.want+"\n") {
				t.Errorf("exit code %d, want %d; wrote %q, want %q", code, want, errOut, test.want)
			}
		})
	}
}

func TestReplayGaps_HostileTimes(t *testing.T) {
	g := replayGaps{}
	for range 1000 {
		for _, at := range []uint64{0, math.MaxUint64} {
			for _, state := range []event.NodeState{streaming, failed} {
				ev := statusAt("n1", 0, state)
				ev.Time = math.MaxUint64 - at
				g.note(ev)
			}
		}
	}
	if d := g.until(math.MaxUint64)["n1"]; d < maxReplayGap || d > 2*maxReplayGap {
		t.Errorf("not seen for %v", d)
	}
}
