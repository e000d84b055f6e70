package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func TestRequests_AreBounded(t *testing.T) {
	many := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("n", i))
		}
		return all
	}
	long := strings.Repeat("a", maxExpression)
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a"})
	for field, s := range map[string]*orbit.Selection{
		"namespaces": {Namespaces: many(maxNamespaces + 1)},
		"names":      {Namespaces: []string{"a"}, Names: many(maxNames + 1)},
		"labels":     {Labels: long + "a"},
		"filter":     {Filter: `pod == "` + long + `"`},
	} {
		stream, err := h.client.QueryEvents(t.Context(), request(s))
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := newTarget(&orbit.Selection{Namespaces: many(maxNamespaces)}); err != nil {
		t.Error(err)
	}
}

// newerAgent speaks another protocol.
type newerAgent struct{ orbit.UnimplementedAgentServer }

// errNewer is how it refuses the server.
var errNewer = status.Error(codes.FailedPrecondition, "this agent (v9) speaks protocol 8 to 9, the server 1")

func (newerAgent) Stream(grpc.BidiStreamingServer[orbit.AgentStreamRequest, orbit.AgentBatch]) error {
	return errNewer
}

func (newerAgent) Query(grpc.BidiStreamingServer[orbit.AgentQueryRequest, orbit.AgentBatch]) error {
	return errNewer
}

func (newerAgent) Status(context.Context, *orbit.AgentStatusRequest) (*orbit.AgentStatus, error) {
	return nil, errNewer
}

// TestRequests_NameAnAgentOfAnotherVersion has an agent that refuses the server, and one that the server refuses.
func TestRequests_NameAnAgentOfAnotherVersion(t *testing.T) {
	newer := &fakeAgent{node: "c", newer: 1, history: []*event.Event{dnsEvent(now, "shop", "web")}}
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a"}, newer)
	address := listen(t, func(g *grpc.Server) { orbit.RegisterAgentServer(g, newerAgent{}) })
	g, err := h.service.agents.connect(endpoint{node: "b", address: address})
	if err != nil {
		t.Fatal(err)
	}
	h.service.agents.nodes["b"] = g
	check := func(request string, all []*orbit.NodeCoverage) {
		t.Helper()
		if len(all) != 3 {
			t.Fatalf("%s: %v", request, all)
		}
		want := []string{"", "protocol 8 to 9", "its agent (v9) speaks protocol 2, the servers 1 to 1"}
		for i, n := range all {
			answer := orbit.NodeAnswer_NODE_ANSWER_INCOMPATIBLE
			if i == 0 {
				answer = orbit.NodeAnswer_NODE_ANSWER_OK
			}
			if n.GetAnswer() != answer || !strings.Contains(n.GetMessage(), want[i]) {
				t.Errorf("%s: %v, want %q", request, n, want[i])
			}
		}
	}
	events, coverage := h.answers(request(&orbit.Selection{Kinds: []string{"dns"}}))
	check("a query", coverage.GetNodes())
	if len(events) > 0 {
		t.Errorf("events of an agent that is refused: %v", events)
	}
	answer, err := h.client.Nodes(t.Context(), &orbit.NodesRequest{Protocol: orbit.Protocol})
	if err != nil {
		t.Fatal(err)
	}
	var all []*orbit.NodeCoverage
	for _, n := range answer.GetNodes() {
		all = append(all, n.GetCoverage())
	}
	check("nodes", all)
	stream, err := h.client.StreamEvents(t.Context(), &orbit.StreamRequest{Protocol: orbit.Protocol,
		Selection: &orbit.Selection{Kinds: []string{"dns"}}})
	for err == nil {
		var a *orbit.Answer
		a, err = stream.Recv()
		all = a.GetCoverage().GetNodes()
		if len(all) == 3 && !slices.ContainsFunc(all, func(n *orbit.NodeCoverage) bool {
			return n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_UNKNOWN
		}) {
			break
		}
	}
	check("a stream", all)
}

func TestCheckHello(t *testing.T) {
	for h, want := range map[*orbit.AgentHello]codes.Code{
		nil: codes.Internal, {}: codes.FailedPrecondition, {Protocol: orbit.Protocol}: codes.OK,
		{Protocol: orbit.MinProtocol}: codes.OK, {Protocol: orbit.Protocol + 1}: codes.FailedPrecondition,
	} {
		if got := status.Code(checkHello(h)); got != want {
			t.Errorf("%v: %v, want %v", h, got, want)
		}
	}
}
