package server

import (
	"slices"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// TestStream_HoldsUpdatesBack follows a flow that the agent reports more often than the client wants to see it.
func TestStream_HoldsUpdatesBack(t *testing.T) {
	const fresh, update, closed = event.Phase_PHASE_NEW, event.Phase_PHASE_UPDATE, event.Phase_PHASE_CLOSED
	for name, c := range map[string]struct {
		interval time.Duration
		want     []uint64
	}{
		"as it is reported": {0, []uint64{10, 20, 30, 60}},
		"rarely":            {time.Hour, []uint64{10, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &fakeAgent{node: "a", live: make(chan *orbit.AgentBatch)}
			h := newHarness(t, &fakeDoor{}, a)
			stream, err := h.client.StreamFlows(t.Context(), &orbit.StreamRequest{Protocol: orbit.Protocol,
				Interval: int64(c.interval)})
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			// receive reads up to a state of the flow.
			receive := func(sent uint64) {
				t.Helper()
				for len(got) == 0 || got[len(got)-1] != sent {
					answer, err := stream.Recv()
					if err != nil {
						t.Fatal(err)
					}
					for _, ev := range answer.GetEvents() {
						if f := ev.GetFlow(); f != nil {
							got = append(got, f.GetSrcCounters().GetBytesSent())
						}
					}
				}
			}
			for i, sent := range []uint64{10, 20, 30, 60} {
				phase := []event.Phase{fresh, update, update, closed}[i]
				ev := flowEvent("web", event.Side_SIDE_SRC, uint64(i), sent, phase)
				a.live <- &orbit.AgentBatch{Sequence: uint64(i + 1), Events: []*event.Event{ev},
					Watermark: ev.GetTime() + 1}
				if slices.Contains(c.want, sent) {
					receive(sent)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("sent %v, want %v", got, c.want)
			}
		})
	}
}

func TestIntervals(t *testing.T) {
	for interval, want := range map[time.Duration][2]time.Duration{
		0:                      {time.Second, 0},
		100 * time.Millisecond: {time.Second, 87500 * time.Microsecond},
		time.Second:            {time.Second, 875 * time.Millisecond},
		5 * time.Second:        {5 * time.Second, 4875 * time.Millisecond},
		time.Hour:              {scanInterval, time.Hour - maxJitter},
	} {
		if got := [2]time.Duration{reportInterval(interval), leastUpdate(interval)}; got != want {
			t.Errorf("%v: %v, want %v", interval, got, want)
		}
	}
}

func TestGatherOf(t *testing.T) {
	for agents, want := range map[int]time.Duration{0: 0, 2: 0, 49: 0, 50: 25 * time.Millisecond,
		1000: 500 * time.Millisecond, 5000: time.Second} {
		if got := gatherOf(agents); got != want {
			t.Errorf("%d agents gather for %v, want %v", agents, got, want)
		}
	}
}
