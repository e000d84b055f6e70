package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// TestQuery_NewestOfBursts has nodes that report 50 events at once, as agents do, each at another time. Only those with
// the newest bursts get two requests.
func TestQuery_NewestOfBursts(t *testing.T) {
	const nodes, burst, last = 40, 50, 100
	var agents []*fakeAgent
	for node := range uint64(nodes) {
		a := &fakeAgent{node: fmt.Sprintf("n%02d", node)}
		for second := range uint64(4) {
			for i := range uint64(burst) {
				at := now + second*uint64(time.Second) + node*uint64(20*time.Millisecond) + i
				a.history = append(a.history, dnsEvent(at, "shop", a.node))
			}
		}
		agents = append(agents, a)
	}
	h := newHarness(t, &fakeDoor{}, agents...)
	h.service.agentTimeout = time.Minute
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	r.Last = last
	events, coverage := h.answers(r)
	if len(events) != last || len(coverage.GetNodes()) != nodes {
		t.Fatalf("%d events of %d nodes", len(events), len(coverage.GetNodes()))
	}
	// The last two bursts.
	for i, ev := range events {
		node := uint64(nodes - last/burst + i/burst)
		if at := now + 3*uint64(time.Second) + node*uint64(20*time.Millisecond) + uint64(i%burst); ev.GetTime() != at {
			t.Fatalf("event %d is of %d, want %d", i, ev.GetTime(), at)
		}
	}
	queries := 0
	for _, a := range agents {
		queries += len(a.queries)
	}
	if queries <= nodes || queries > nodes+nodes/2 {
		t.Errorf("%d queries of %d nodes", queries, nodes)
	}
}

// TestQuery_DoesNotWaitTwice has an agent that does not answer, and then does.
func TestQuery_DoesNotWaitTwice(t *testing.T) {
	lame := &fakeAgent{node: "lame", mute: true, history: []*event.Event{dnsEvent(now, "shop", "web")}}
	right := &fakeAgent{node: "right", history: []*event.Event{dnsEvent(now, "shop", "db")}}
	h := newHarness(t, &fakeDoor{}, right, lame)
	g := h.service.agents.nodes["lame"]
	h.service.agentTimeout = 2 * lateTimeout
	if got := g.answerTimeout(time.Minute); got != time.Minute {
		t.Errorf("at first %v", got)
	}
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	if events, _ := h.answers(r); len(events) != 1 {
		t.Errorf("%d events, want that of the other node", len(events))
	}
	if got := g.answerTimeout(time.Minute); got != lateTimeout {
		t.Errorf("after a query without an answer %v", got)
	}
	lame.mu.Lock()
	lame.mute = false
	lame.mu.Unlock()
	for g.late.Load() { // a busy machine may be late again
		h.answers(r)
	}
	h.service.agentTimeout = time.Minute
	if events, _ := h.answers(r); len(events) != 2 {
		t.Errorf("%d events of both", len(events))
	}
}
