package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/server/past"
)

// fakePast is a history store with events of nodes, oldest first. It selects by time only.
type fakePast struct {
	events []*event.Event
	bad    uint64
	err    error         // after the events
	slow   chan struct{} // the answer begins when it is closed; nil: at once

	asked []*past.Selection
}

func (f *fakePast) Read(
	ctx context.Context, s *past.Selection, yield func(*event.Event) error,
) (past.Report, error) {
	f.asked = append(f.asked, s)
	r := past.Report{Bad: f.bad}
	if f.slow != nil {
		select {
		case <-f.slow:
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
	for _, ev := range f.events {
		cut, known := s.Cuts[ev.GetNode()]
		if ev.GetTime() < s.Since || ev.GetTime() >= s.Until || known && ev.GetTime() >= cut {
			continue
		}
		r.Rows++
		if err := yield(ev); err != nil {
			return r, err
		}
	}
	return r, f.err
}

// on sets the node of an event.
func on(node string, ev *event.Event) *event.Event {
	ev.Node = node
	return ev
}

// at is seconds after now.
func at(seconds uint64) uint64 { return now + seconds*uint64(time.Second) }

// newStoredHarness has two agents that hold the events from second 20 and 30 on, and a store with the events of 40
// seconds, also of a node that is gone.
func newStoredHarness(t *testing.T, door Door) (*harness, *fakePast, []string) {
	t.Helper()
	a, b, store := &fakeAgent{node: "a", reach: at(20)}, &fakeAgent{node: "b", reach: at(30)}, &fakePast{}
	var all []string
	for i := range uint64(40) {
		for n, agent := range []*fakeAgent{a, b, {node: "gone", reach: at(100)}} {
			t := at(i) + uint64(n)
			store.events = append(store.events, on(agent.node, dnsEvent(t, "shop", "web")))
			if t >= agent.reach {
				agent.history = append(agent.history, dnsEvent(t, "shop", "web"))
			}
			all = append(all, fmt.Sprint(t))
		}
	}
	h := newHarness(t, door, a, b)
	h.service.past = store
	return h, store, all
}

// TestQueryPast_ContinuesWithAgents shows each event once, whoever has it.
func TestQueryPast_ContinuesWithAgents(t *testing.T) {
	h, store, want := newStoredHarness(t, &fakeDoor{})
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	r.Since = now
	events, coverage := h.answers(r)
	if got := names(events); !slices.Equal(got, want) {
		t.Errorf("%d events, want %d", len(got), len(want))
	}
	if s := coverage.GetStore(); s == nil || s.GetError() != "" || s.GetEvents() != 25+35+40 {
		t.Errorf("%v", s)
	}
	for i, n := range coverage.GetNodes() {
		if n.GetStoredUntil() != at(20+10*uint64(i)) {
			t.Errorf("%v", n)
		}
	}
	if s := store.asked[0]; s.Since != now || s.Until < at(40) || !slices.Equal(s.Kinds, []string{"dns"}) ||
		len(s.Namespaces) > 0 {
		t.Errorf("%+v", s)
	}
	// What agents hold needs no store.
	r.Since = at(31)
	if _, coverage = h.answers(r); len(store.asked) != 1 || coverage.GetStore() != nil {
		t.Errorf("asked %d times, %v", len(store.asked), coverage.GetStore())
	}
}

// TestQueryPast_Newest asks the store only where agents hold too few events.
func TestQueryPast_Newest(t *testing.T) {
	h, store, want := newStoredHarness(t, &fakeDoor{})
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	r.Last = 10
	events, _ := h.answers(r)
	if got := names(events); len(got) != 10 || len(store.asked) != 0 {
		t.Errorf("%d events, asked %d times", len(got), len(store.asked))
	}
	r.Last = 60
	events, coverage := h.answers(r)
	if got := names(events); !slices.Equal(got, want[len(want)-60:]) || len(store.asked) != 1 {
		t.Errorf("%d events, asked %d times", len(got), len(store.asked))
	}
	if coverage.GetStore().GetError() != "" {
		t.Errorf("%v", coverage.GetStore())
	}
}

// TestQueryPast_JoinsAcrossTheSeam has a flow that begins in the store and ends in the history of an agent.
func TestQueryPast_JoinsAcrossTheSeam(t *testing.T) {
	const update, closed = event.Phase_PHASE_UPDATE, event.Phase_PHASE_CLOSED
	a := &fakeAgent{node: "a", reach: at(20), history: []*event.Event{
		flowEvent("web", event.Side_SIDE_SRC, 22, 700, closed)}}
	h := newHarness(t, &fakeDoor{}, a, &fakeAgent{node: "b", reach: at(25)})
	h.service.past = &fakePast{events: []*event.Event{
		on("a", flowEvent("web", event.Side_SIDE_SRC, 10, 300, update)),
		on("b", flowEvent("db", event.Side_SIDE_DST, 10, 300, update)),
		on("a", flowEvent("web", event.Side_SIDE_SRC, 22, 700, closed)),
		on("b", flowEvent("db", event.Side_SIDE_DST, 23, 700, closed))}}
	r := request(&orbit.Selection{})
	r.Since = now
	stream, err := h.client.QueryFlows(t.Context(), &orbit.QueryFlowsRequest{Query: speaking(r),
		AggregateBy: []string{"protocol"}})
	if err != nil {
		t.Fatal(err)
	}
	var rows []*event.FlowSum
	for {
		answer, err := stream.Recv()
		if err != nil {
			break
		}
		for _, ev := range answer.GetEvents() {
			rows = append(rows, ev.GetFlowSum())
		}
	}
	if len(rows) != 1 || rows[0].GetFlows() != 1 || rows[0].GetBytesSent() != 700 || rows[0].GetOpen() != 0 {
		t.Errorf("%v", rows)
	}
}

// TestQueryPast_TenantsSeeTheirs has a store that sends more namespaces than the request names.
func TestQueryPast_TenantsSeeTheirs(t *testing.T) {
	h, store, _ := newStoredHarness(t, &fakeDoor{namespaces: []string{"shop"}})
	for i := range uint64(10) {
		store.events = append([]*event.Event{on("a", dnsEvent(at(9-i), "bank", "db"))}, store.events...)
	}
	r := request(&orbit.Selection{Namespaces: []string{"shop", "bank"}, Kinds: []string{"dns"}})
	r.Since = now
	events, _ := h.answers(r)
	for _, ev := range events {
		if ev.GetNamespace() != "shop" {
			t.Fatalf("%v", ev)
		}
	}
	if len(events) != 120 || !slices.Equal(store.asked[0].Namespaces, []string{"shop"}) {
		t.Errorf("%d events; %+v", len(events), store.asked[0])
	}
}

// TestQueryPast_Failures answers from agents alone, and says so.
func TestQueryPast_Failures(t *testing.T) {
	h, store, _ := newStoredHarness(t, &fakeDoor{})
	store.events, store.err = nil, errors.New("it did not answer within 10s")
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	r.Since = now
	events, coverage := h.answers(r)
	if len(names(events)) != 30 || coverage.GetStore().GetError() != store.err.Error() {
		t.Errorf("%d events, %v", len(events), coverage.GetStore())
	}
	// Rows that cannot be read are a loss.
	store.err, store.bad = nil, 3
	events, coverage = h.answers(r)
	var lost *event.Lost
	for _, ev := range events {
		if ev.GetLost() != nil {
			lost = ev.GetLost()
		}
	}
	if lost.GetCount() != 3 || lost.GetSource() != storeSource || coverage.GetStore().GetUnreadable() != 3 ||
		len(coverage.GetNodes()) != 2 {
		t.Errorf("%v, %v", lost, coverage)
	}
}

// TestQueryPast_SignsOfLife sends messages while the store has not answered yet.
func TestQueryPast_SignsOfLife(t *testing.T) {
	h, store, want := newStoredHarness(t, &fakeDoor{})
	store.slow = make(chan struct{})
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	r.Since = now
	stream, err := h.client.QueryEvents(t.Context(), speaking(r))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for messages := 0; ; messages++ {
		answer, err := stream.Recv()
		if err != nil {
			break
		}
		if messages == 1 && len(answer.GetEvents()) == 0 { // after the first coverage
			close(store.slow)
		}
		got = append(got, names(answer.GetEvents())...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, " "))
	}
}

// endless is a store with large events.
type endless struct{ read int }

func (e *endless) Read(_ context.Context, _ *past.Selection, yield func(*event.Event) error) (past.Report, error) {
	for {
		ev := &event.Event{Kind: &event.Event_Dns{Dns: &event.Dns{Name: strings.Repeat("x", chunkBytes/2)}}}
		if err := yield(ev); err != nil {
			return past.Report{}, err
		}
		e.read++
	}
}

func TestStored_ReadsFewLargeEventsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, store, ended := &stored{chunks: make(chan []*event.Event, chunksAhead)}, &endless{}, make(chan struct{})
		go func() {
			defer close(ended)
			s.read(ctx, store, &past.Selection{})
		}()
		synctest.Wait()
		if store.read > 2*(chunksAhead+1) {
			t.Errorf("%d events of %d bytes are read ahead", store.read, chunkBytes/2)
		}
		cancel()
		<-ended
	})
}
