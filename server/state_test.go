package server

import (
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func TestStream_HasTheStatesOfNodes(t *testing.T) {
	a := &fakeAgent{node: "a", live: make(chan *orbit.AgentBatch)}
	h := newHarness(t, &fakeDoor{}, a)
	address := listen(t, func(g *grpc.Server) { orbit.RegisterAgentServer(g, newerAgent{}) })
	newer, err := h.service.agents.connect(endpoint{node: "b", address: address})
	if err != nil {
		t.Fatal(err)
	}
	h.service.agents.nodes["b"] = newer
	stream, err := h.client.StreamEvents(t.Context(), &orbit.StreamRequest{Protocol: orbit.Protocol,
		Selection: &orbit.Selection{Kinds: []string{"dns"}}})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string][]event.NodeState{}
	await := func(node string, want ...event.NodeState) {
		t.Helper()
		for !slices.Equal(states[node], want) {
			answer, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range answer.GetEvents() {
				if s := ev.GetNodeStatus(); s != nil {
					states[ev.GetNode()] = append(states[ev.GetNode()], s.GetState())
				}
			}
			if got := states[node]; len(got) > len(want) {
				t.Fatalf("%s: %v, want %v", node, got, want)
			}
		}
	}
	const streaming, reconnecting = event.NodeState_NODE_STATE_STREAMING, event.NodeState_NODE_STATE_RECONNECTING
	await("a", streaming)
	await("b", event.NodeState_NODE_STATE_FAILED) // once, though it is tried again
	a.mu.Lock()
	cut := a.live
	a.live = make(chan *orbit.AgentBatch)
	a.mu.Unlock()
	close(cut)
	await("a", streaming, reconnecting, streaming)
	if got := states["b"]; len(got) != 1 {
		t.Errorf("b: %v", got)
	}
}

func TestStateOf(t *testing.T) {
	for want, h := range map[event.NodeState]*orbit.AgentHello{
		event.NodeState_NODE_STATE_STARTING:  {},
		event.NodeState_NODE_STATE_STREAMING: {KnownSince: 1, Gaps: []*orbit.Span{{From: 5, To: 9}}},
	} {
		if got := stateOf(h).GetState(); got != want {
			t.Errorf("%v: %v, want %v", h, got, want)
		}
	}
	if got := stateOf(&orbit.AgentHello{KnownSince: 1, Gaps: []*orbit.Span{{From: 5}}}); got.GetMessage() == "" {
		t.Errorf("while it cannot observe: %v", got)
	}
}
