package collect

import (
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestHostileTracer_IsCheckedAndCounted(t *testing.T) {
	started := time.Now()
	now := uint64(started.UnixNano())
	var reported []string
	c := New(Options{
		Kinds: []string{"dns"}, Started: started,
		Refused: func(node string, why error) { reported = append(reported, node+": "+why.Error()) },
	})
	hostile, honest := c.Add("hostile"), c.Add("honest")
	query := func(at uint64) *event.Event {
		return &event.Event{Time: at, Pod: "web", Kind: &event.Event_Dns{Dns: &event.Dns{Name: "example.com."}}}
	}
	refused := []*event.Event{
		{Time: now, Kind: &event.Event_GpuVerdict{GpuVerdict: &event.GpuVerdict{}}},
		{Time: now, Kind: &event.Event_NetworkTop{NetworkTop: &event.NetworkTop{}}},
		{Time: now, Kind: &event.Event_Exec{Exec: &event.Exec{}}}, // not a requested kind
		query(1 << 63), query(now - uint64(48*time.Hour)), query(now + uint64(48*time.Hour)), {Time: now},
	}
	if err := hostile.Feed(t.Context(), Batch{Instance: 1, Sequence: 1, Events: append(refused, query(now)),
		Watermark: now}); err != nil {
		t.Fatal(err)
	}
	if err := honest.Feed(t.Context(), Batch{Instance: 1, Sequence: 1, Events: []*event.Event{query(now)},
		Watermark: now}); err != nil {
		t.Fatal(err)
	}
	c.Finish()
	shown := map[string]int{}
	if err := c.Run(t.Context(), func(ev *event.Event) error {
		if ev.GetLost() == nil {
			shown[ev.GetNode()]++
		}
		if ev.GetDns() == nil && ev.GetLost() == nil {
			t.Errorf("emitted %v", ev)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	lost := uint64(0)
	for _, l := range c.Losses() {
		if l.Node != "hostile" || l.Stage != event.LossStage_LOSS_STAGE_DECODE {
			t.Errorf("loss %+v", l)
		}
		lost += l.Count
	}
	if lost != uint64(len(refused)) || shown["hostile"] == 0 || shown["honest"] == 0 {
		t.Errorf("%d refused, want %d; shown %v", lost, len(refused), shown)
	}
	if len(reported) != 1 ||
		!strings.Contains(reported[0], "hostile: of the kind gpuVerdict, which only viewers make") {
		t.Errorf("reported %q", reported)
	}
}
