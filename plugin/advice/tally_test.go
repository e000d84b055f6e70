package advice

import (
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

func TestTally_NamesEachLoss(t *testing.T) {
	ring := losses.Loss{Node: "n1", Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Source: "flows", Count: 7}
	for _, test := range []struct {
		tally Tally
		want  string
		lost  bool
	}{
		{Tally{Events: 1, Traced: 1, Nodes: 1, Took: time.Second}, "1 event from 1 node in 1s; nothing lost", false},
		{
			Tally{Events: 3, Traced: 1, Nodes: 1, Took: 1234 * time.Millisecond},
			"3 events from 1 node in 1.2s; nothing lost", false,
		},
		{
			Tally{Events: 3, Traced: 1, Nodes: 3, Took: time.Second},
			"3 events from 1 of 3 nodes in 1s; nothing lost", false,
		},
		{Tally{Nodes: 3, Took: time.Second}, "0 events in 1s: nothing was traced", false},
		{
			Tally{
				Events: 5, Traced: 2, Nodes: 2, Took: time.Second, Losses: []losses.Loss{ring},
				Gaps: map[string]time.Duration{"n2": 9700 * time.Millisecond},
			},
			"5 events from 2 nodes in 1s; LOST 7 at n1 (kernel-buffer, flows); all of n2 for 9.7 s", true,
		},
		{
			Tally{Traced: 1, Nodes: 1, Took: time.Second, Gaps: map[string]time.Duration{"n1": time.Millisecond}},
			"0 events from 1 node in 1s; LOST all of n1 for 0.1 s", true,
		},
	} {
		if got := test.tally.String(); got != test.want || test.tally.Lost() != test.lost {
			t.Errorf("got  %s, lost %v\nwant %s, %v", got, test.tally.Lost(), test.want, test.lost)
		}
	}
}

func TestTally_NamesPods(t *testing.T) {
	const ring = event.LossStage_LOSS_STAGE_KERNEL_BUFFER
	flood := losses.Pod{Namespace: "demo", Name: "flood", Container: "app"}
	quiet := losses.Pod{Namespace: "demo", Name: "quiet\x1b[2J"}
	tally := Tally{Events: 5, Traced: 2, Nodes: 2, Took: time.Second, Losses: []losses.Loss{
		{Node: "n1", Stage: ring, Source: "flow", Count: 379290, Pod: flood, Cause: flood},
		{Node: "n1", Stage: ring, Source: "flow", Count: 2, Pod: quiet, Cause: flood},
		{Node: "n2", Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 4},
	}}
	want := `5 events from 2 nodes in 1s; LOST 379292 at n1 (kernel-buffer, flow): ` +
		`pod demo/quiet\x1b[2J lost 2 because pod demo/flood made at least 379290, ` +
		"pod demo/flood lost 379290 of its own flood; 4 at n2 (queue)"
	if got := string(safe.AppendText(nil, tally.String())); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
