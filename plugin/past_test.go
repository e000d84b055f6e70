package plugin

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// TestCoverageLines_Store says what is of the history store, and what is missing without it.
func TestCoverageLines_Store(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) uint64 { return uint64(now.Add(-d).UnixNano()) }
	for name, c := range map[string]struct {
		store   *orbit.StoreCoverage
		want    []string
		unknown int
	}{
		"none": {nil, []string{"the history reaches back 12m0s (n1)"}, 1},
		"answers": {&orbit.StoreCoverage{Events: 1}, []string{"the history reaches back 12m0s (n1)",
			"what is older is of the history store: 1 event"}, 0},
		"down": {&orbit.StoreCoverage{Error: "it did not\x1b[2J answer", Unreadable: 2, Foreign: 3},
			[]string{"the history reaches back 12m0s (n1)",
				"the history store: it did not\\x1b[2J answer: what is older is missing",
				"the history store also sent 2 rows that cannot be read, and 3 that are not of orb8"}, 1},
	} {
		coverage := &orbit.Coverage{AllNamespaces: true, Since: ago(time.Hour), Until: ago(0), Store: c.store,
			Nodes: []*orbit.NodeCoverage{{Node: "n1", Answer: orbit.NodeAnswer_NODE_ANSWER_OK,
				Reach: ago(12 * time.Minute), Kinds: []string{"flow"}, StoredUntil: ago(12 * time.Minute)}}}
		lines := coverageLines(&orbit.Selection{Kinds: []string{"flow"}}, coverage, now)
		if !slices.Equal(lines, c.want) {
			t.Errorf("%s: %q", name, lines)
		}
		if unknown := unknownTimes(coverage); len(unknown) != c.unknown {
			t.Errorf("%s: %s", name, strings.Join(unknown, "\n"))
		}
	}
}
