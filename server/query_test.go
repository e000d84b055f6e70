package server

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// flowEvent is a half of a flow, seconds after now.
func flowEvent(pod string, side event.Side, second, sent uint64, phase event.Phase) *event.Event {
	f := &event.Flow{Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, Observed: side, RoleKnown: true,
		SrcIsn: 5, DstIsn: 6, IsnValid: true, SocketCookie: uint64(side), StartTime: 1,
		Src: &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 4000},
		Dst: &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 80}}
	if side == event.Side_SIDE_SRC {
		f.SrcCounters = &event.Counters{BytesSent: sent}
	} else {
		f.DstCounters = &event.Counters{BytesReceived: sent}
	}
	return &event.Event{Time: now + second*uint64(time.Second), Namespace: "shop", Pod: pod, PodUid: "shop" + pod,
		Kind: &event.Event_Flow{Flow: f}}
}

// TestQuery_FlowsHoldTheirGrowth asks for a part of a long flow: the first and the last event tell how it grew.
func TestQuery_FlowsHoldTheirGrowth(t *testing.T) {
	const update, closed = event.Phase_PHASE_UPDATE, event.Phase_PHASE_CLOSED
	client, server := &fakeAgent{node: "a"}, &fakeAgent{node: "b", ahead: 5 * time.Minute}
	for second := range uint64(40) {
		phase := update
		if second == 39 {
			phase = closed
		}
		client.history = append(client.history,
			flowEvent("web", event.Side_SIDE_SRC, second, 1000+second, phase))
		ahead := flowEvent("db", event.Side_SIDE_DST, second, 1000+second, phase)
		ahead.Time += uint64(server.ahead)
		server.history = append(server.history, ahead)
	}
	h := newHarness(t, &fakeDoor{}, client, server)
	for interval, least := range map[time.Duration]int{time.Hour: 2, 10 * time.Second: 5, 0: 40} {
		r := request(&orbit.Selection{Kinds: []string{"flow"}})
		r.Interval = int64(interval)
		events, _ := h.answers(r)
		var sent []uint64
		for _, ev := range events {
			sent = append(sent, ev.GetFlow().GetSrcCounters().GetBytesSent())
		}
		if len(sent) < least || len(sent) > least+2 {
			t.Fatalf("an interval of %v: %d events, want about %d", interval, len(sent), least)
		}
		first, last := events[0].GetFlow(), events[len(events)-1].GetFlow()
		if sent[0] != 1000 || last.GetSrcCounters().GetBytesSent() != 1039 || first.GetId() != last.GetId() {
			t.Errorf("an interval of %v: sent %v", interval, sent)
		}
		if last.GetDstCounters().GetBytesReceived() != 1039 || last.GetPhase() != closed {
			t.Errorf("an interval of %v: the halves of nodes with different clocks are not joined: %v", interval, last)
		}
	}
}

// TestQuery_CoverageComesFirst reads what the answer is of before its events.
func TestQuery_CoverageComesFirst(t *testing.T) {
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a", history: []*event.Event{dnsEvent(now, "shop", "web")}})
	before := uint64(time.Now().UnixNano())
	r := request(&orbit.Selection{Kinds: []string{"dns"}})
	r.Ago = int64(time.Hour)
	stream, err := h.client.QueryEvents(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	c := first.GetCoverage()
	if len(first.GetEvents()) != 0 || c.GetUntil() < before || c.GetUntil()-c.GetSince() != uint64(time.Hour) ||
		len(c.GetNodes()) != 1 || !slices.Equal(c.GetNodes()[0].GetKinds(), []string{"dns", "flow"}) {
		t.Errorf("the first message is %v", first)
	}
	r.Interval = -1
	if stream, err = h.client.QueryEvents(t.Context(), r); err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("an interval of -1: %v", err)
	}
}

// TestQueryFlows_OneEventForEachFlow asks for flows of which one is over before the others' last states.
func TestQueryFlows_OneEventForEachFlow(t *testing.T) {
	a := &fakeAgent{node: "a"}
	add := func(cookie, second uint64, phase event.Phase) {
		ev := flowEvent("web", event.Side_SIDE_SRC, second, second, phase)
		ev.GetFlow().SocketCookie, ev.GetFlow().SrcIsn = cookie, uint32(cookie)
		a.history = append(a.history, ev)
	}
	for second := range uint64(20) {
		if second < 10 {
			add(1, second, event.Phase_PHASE_UPDATE) // it goes silent
		}
		add(2, second, event.Phase_PHASE_UPDATE)
		if second == 15 {
			add(3, second, event.Phase_PHASE_CLOSED)
		}
	}
	h := newHarness(t, &fakeDoor{}, a)
	for last, want := range map[uint32][]uint64{0: {9, 15, 19}, 2: {15, 19}} {
		r := &orbit.QueryFlowsRequest{Query: request(&orbit.Selection{})}
		r.Query.Last = last
		stream, err := h.client.QueryFlows(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var sent []uint64
		for {
			answer, err := stream.Recv()
			if err != nil {
				break
			}
			for _, ev := range answer.GetEvents() {
				sent = append(sent, ev.GetFlow().GetSrcCounters().GetBytesSent())
			}
		}
		if !slices.Equal(sent, want) {
			t.Errorf("the last %d: sent %v, want %v", last, sent, want)
		}
	}
}

func TestSkewOf(t *testing.T) {
	asked := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		clock, took, want time.Duration
	}{
		"the same clock":           {time.Millisecond, 2 * time.Millisecond, 0},
		"a slow answer":            {time.Second, 20 * time.Second, 0},
		"a slow answer, read late": {0, 20 * time.Second, 0},
		"half a second ahead":      {500 * time.Millisecond, 0, 0},
		"ahead":                    {5*time.Minute + time.Second, 2 * time.Second, 5 * time.Minute},
		"behind":                   {-5 * time.Minute, 0, -5 * time.Minute},
	} {
		hello := &orbit.AgentHello{Time: uint64(asked.Add(c.clock).UnixNano())}
		if got := time.Duration(skewOf(hello, asked, asked.Add(c.took))); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	for _, bad := range []uint64{0, 1 << 63} {
		if got := skewOf(&orbit.AgentHello{Time: bad}, asked, asked); got != 0 {
			t.Errorf("a clock of %d: %v", bad, got)
		}
	}
}
