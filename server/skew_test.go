package server

import (
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// TestStream_OfNodesWithDifferentClocks follows two nodes whose clocks are 5 minutes apart, and a flow between them.
func TestStream_OfNodesWithDifferentClocks(t *testing.T) {
	const apart = 5 * time.Minute
	for name, ahead := range map[string]time.Duration{"ahead": apart, "behind": -apart} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &fakeAgent{node: "a", live: make(chan *orbit.AgentBatch)}
			b := &fakeAgent{node: "b", live: make(chan *orbit.AgentBatch), ahead: ahead}
			h := newHarness(t, &fakeDoor{}, a, b)
			stream, err := h.client.StreamEvents(t.Context(), &orbit.StreamRequest{Protocol: orbit.Protocol,
				Interval: int64(time.Second), Selection: &orbit.Selection{Kinds: []string{"dns", "flow"}}})
			if err != nil {
				t.Fatal(err)
			}
			queries := 0
			var flow *event.Flow // its last state
			receive := func() {
				answer, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				for _, ev := range answer.GetEvents() {
					switch {
					case ev.GetLost() != nil:
						t.Errorf("lost: %v", ev)
					case ev.GetDns() != nil:
						queries++
					case ev.GetFlow() != nil:
						flow = ev.GetFlow()
					}
				}
			}
			for round := range uint64(8) {
				sent := time.Now()
				for i, agent := range []*fakeAgent{a, b} {
					at := uint64(sent.Add(agent.ahead).UnixNano())
					phase := []event.Phase{event.Phase_PHASE_NEW, event.Phase_PHASE_UPDATE}[min(round, 1)]
					if round == 7 {
						phase = event.Phase_PHASE_CLOSED
					}
					half := flowEvent([]string{"web", "db"}[i], event.Side(i+1), 0, 100*(round+1), phase)
					half.Time, half.GetFlow().StartTime, half.GetFlow().LastTime = at, at, at
					agent.live <- &orbit.AgentBatch{Sequence: round + 1, Watermark: at + 1,
						Events: []*event.Event{half, dnsEvent(at, "shop", "web")}}
				}
				for queries < 2*int(round+1) {
					receive()
				}
				if took := time.Since(sent); took > 3*time.Second {
					t.Errorf("events come after %v", took)
				}
			}
			for flow.GetPhase() != event.Phase_PHASE_CLOSED {
				receive()
			}
			if flow.GetSrcCounters().GetBytesSent() != 800 || flow.GetDstCounters().GetBytesReceived() != 800 {
				t.Errorf("the last state is %v", flow)
			}
			answer, err := h.client.Nodes(t.Context(), &orbit.NodesRequest{Protocol: orbit.Protocol})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range answer.GetNodes() {
				want := map[string]time.Duration{"b": ahead}[n.GetCoverage().GetNode()]
				if got := time.Duration(n.GetClockSkew()); (got - want).Abs() > time.Second {
					t.Errorf("%s: a skew of %v, want %v", n.GetCoverage().GetNode(), got, want)
				}
				if n.GetCoverage().GetLost() != 0 {
					t.Errorf("lost: %v", n)
				}
			}
		})
	}
}
