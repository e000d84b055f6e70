package server

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// manyAgents adds agents of n nodes to a harness, which all are the same one.
func manyAgents(h *harness, n int, a *fakeAgent) {
	h.Helper()
	a.t = h.T
	address := listen(h.T, func(g *grpc.Server) { orbit.RegisterAgentServer(g, a) })
	for i := range n {
		node := fmt.Sprintf("node-%04d", i)
		connected, err := h.service.agents.connect(endpoint{node: node, address: address})
		if err != nil {
			h.Fatal(err)
		}
		h.service.agents.nodes[node] = connected
	}
}

// TestRequests_OfAThousandNodes has a server with the memory of an installed one.
func TestRequests_OfAThousandNodes(t *testing.T) {
	const nodes, each, limit = manyNodes, 60, 175 << 20
	a := &fakeAgent{}
	for i := range uint64(each) {
		a.history = append(a.history, dnsEvent(now+i, "shop", "web"))
	}
	h := newHarness(t, &fakeDoor{})
	// A thousand handshakes at once: here the first request makes the connections up.
	h.service.agents.connectTimeout = time.Minute
	manyAgents(h, nodes, a)
	m := newMemory(limit)
	h.service.memory, h.service.agentTimeout = m, time.Minute
	held := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.held
	}
	selection := &orbit.Selection{Kinds: []string{"dns"}}
	stream, err := h.client.QueryEvents(t.Context(), request(selection))
	events, last := 0, uint64(0)
	failed := map[string]int{}
	for err == nil {
		var answer *orbit.Answer
		answer, err = stream.Recv()
		for _, n := range answer.GetCoverage().GetNodes() {
			if n.GetMessage() != "" {
				failed[n.GetMessage()]++
			}
		}
		for _, ev := range answer.GetEvents() {
			if ev.GetTime() < last {
				t.Fatal("events are out of order")
			}
			last = ev.GetTime()
			events++
		}
	}
	if events != nodes*each {
		t.Errorf("%d events, want %d: %v; nodes that fail: %v", events, nodes*each, err, failed)
	}
	// follow opens a stream and waits until all nodes answer.
	follow := func() error {
		stream, err := h.client.StreamEvents(t.Context(), &orbit.StreamRequest{Protocol: orbit.Protocol,
			Selection: selection})
		for answering := 0; err == nil && answering < nodes; {
			var answer *orbit.Answer
			if answer, err = stream.Recv(); answer.GetCoverage() != nil {
				answering = 0
				for _, n := range answer.GetCoverage().GetNodes() {
					if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK {
						answering++
					}
				}
			}
		}
		return err
	}
	opened := 0
	var refusal error
	for opened < 20 && refusal == nil {
		if refusal = follow(); refusal == nil {
			opened++
		}
		if held() > limit/2 {
			t.Fatalf("%d requests of a user hold %d MiB", opened, held()>>20)
		}
	}
	if opened < 3 || status.Code(refusal) != codes.ResourceExhausted {
		t.Errorf("%d requests are accepted, then %v", opened, refusal)
	}
}

// TestShare_OfAgents compares what requests reserve with what the agents of a large cluster may send.
func TestShare_OfAgents(t *testing.T) {
	for agents, want := range map[int]int{0: maxWindow, 1: maxWindow, 64: maxWindow, 1000: 12582, 100_000: minWindow} {
		if got := windowOf(agents); got != want {
			t.Errorf("a window of %d bytes for %d agents, want %d", got, agents, want)
		}
	}
	m := newMemory(64 << 20)
	s, err := m.open("jane", 100)
	if err != nil {
		t.Fatal(err)
	}
	before := m.held
	s.reserve(100)
	if m.held != before {
		t.Errorf("%d bytes are held, then %d", before, m.held)
	}
	if s.reserve(101); m.held != before+streamMemory+s.window {
		t.Errorf("with one more agent: %d bytes more", m.held-before)
	}
	s.close()
	if m.held != 0 {
		t.Errorf("%d bytes are left", m.held)
	}
}
