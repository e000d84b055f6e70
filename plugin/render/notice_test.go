package render

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestNotice_NamesPodsOfLoss(t *testing.T) {
	ev := &event.Event{Node: "n1", Namespace: "demo", Pod: "quiet\x1b[2J", Kind: &event.Event_Lost{Lost: &event.Lost{
		Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Source: "flow", Count: 2,
		CausedBy: &event.PodRef{Namespace: "demo", Pod: "flood"},
	}}}
	want := `n1: lost 2 events of flow of pod demo/quiet\x1b[2J because of pod demo/flood: ` +
		`the kernel's ring buffer was full`
	if got := Notice(ev); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
