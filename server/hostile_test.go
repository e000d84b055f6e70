package server

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

func (newerAgent) Stream(grpc.BidiStreamingServer[orbit.AgentStreamRequest, orbit.AgentBatch]) error {
	return status.Error(codes.FailedPrecondition, "this agent (v9) speaks protocol 8 to 9, the server 1")
}

func (newerAgent) Query(grpc.BidiStreamingServer[orbit.AgentQueryRequest, orbit.AgentBatch]) error {
	return status.Error(codes.FailedPrecondition, "this agent (v9) speaks protocol 8 to 9, the server 1")
}

func TestQuery_NamesAnAgentOfAnotherVersion(t *testing.T) {
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a"})
	address := listen(t, func(g *grpc.Server) { orbit.RegisterAgentServer(g, newerAgent{}) })
	g, err := h.service.agents.connect(endpoint{node: "b", address: address})
	if err != nil {
		t.Fatal(err)
	}
	h.service.agents.nodes["b"] = g
	_, coverage := h.answers(request(&orbit.Selection{Kinds: []string{"dns"}}))
	for _, n := range coverage.GetNodes() {
		want := orbit.NodeAnswer_NODE_ANSWER_OK
		if n.GetNode() == "b" {
			want = orbit.NodeAnswer_NODE_ANSWER_INCOMPATIBLE
		}
		if n.GetAnswer() != want || n.GetNode() == "b" && !strings.Contains(n.GetMessage(), "protocol 8 to 9") {
			t.Errorf("%v", n)
		}
	}
}
