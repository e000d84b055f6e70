package plugin

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func TestAgentStates_Export(t *testing.T) {
	node := func(name string, e *orbit.ExportStatus) *orbit.Node {
		return &orbit.Node{Coverage: &orbit.NodeCoverage{Node: name, Answer: orbit.NodeAnswer_NODE_ANSWER_OK},
			Status: &orbit.AgentStatus{Export: e}}
	}
	states := agentStates(&orbit.NodesAnswer{Nodes: []*orbit.Node{
		node("a", nil),
		node("b", &orbit.ExportStatus{Endpoint: "c:4317", Queued: 12, Sent: 12}),
		node("c", &orbit.ExportStatus{Endpoint: "c:4317", Queued: 12, Sent: 10, Lost: 2,
			LostBy: map[string]uint64{"overflow": 2}}),
		node("d", &orbit.ExportStatus{Endpoint: "c:4317", Queued: 3, Pending: 3, Error: "Unavailable: \x1b[2J",
			FailingSince: uint64(time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC).UnixNano())}),
		node("e", &orbit.ExportStatus{Endpoint: "c:4317", Points: &orbit.PointsStatus{Queued: 5, Pending: 2, Sent: 3,
			Error: "DeadlineExceeded"}}),
	}})
	var table, lines bytes.Buffer
	if err := writeAgents(&table, states, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"EXPORT", "  off ", "  12 sent ", "  10 sent, 2 lost ",
		"  failing, 0 sent, 0 lost ", "  failing, 0 sent, 0 lost, 3 points "} {
		if line := strings.Split(table.String(), "\n")[i]; !strings.Contains(line+" ", want) {
			t.Errorf("line %d: %q, want %q", i, line, want)
		}
	}
	if got := agentLines(states); len(got) != 2 ||
		got[0] != "d: export to c:4317 fails since 2026-11-30T08:00:00Z: Unavailable: \x1b[2J" ||
		got[1] != "e: export of metrics to c:4317 fails: DeadlineExceeded" {
		t.Errorf("%q", got)
	}
	if err := writeAgentsJSON(&lines, states); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`"export":null`, `"endpoint":"c:4317","queued":12,"sent":12,"lost":0,"lostBy":null`,
		`"lostBy":{"overflow":2}`, `"pending":3`, `"points":{"queued":5,"sent":3,"lost":0`} {
		if line := strings.Split(lines.String(), "\n")[i]; !strings.Contains(line, want) {
			t.Errorf("line %d: %s, want %s", i, line, want)
		}
	}
}
