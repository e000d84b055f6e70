package pods

import (
	"flag"
	"os"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/internal/rulespage"
)

var update = flag.Bool("update", false, "write the page of the rules anew")

const rulesPage = "../../../docs/why-rules.md"

// TestDocs_RulesPageIsCurrent compares docs/why-rules.md with the table of rules.
func TestDocs_RulesPageIsCurrent(t *testing.T) {
	table := rulespage.Table[event.PodCause, signal]{
		Intro: `# The rules of why

<!-- Written by go test ./plugin/why/pods -run Docs -update from the table in plugin/why/pods/rules.go; do not edit. -->

Rules divide the time of a pod second by second, by means over three seconds, into causes. A rule takes a share of the
time, in turns: rules of a later turn divide what the earlier ones have left, and rules of one turn that want more than
that get proportional shares. A condition "signal 20 % → 50 %" is 0 at 20 %, 1 at 50 %, and linear between them. The
conditions of a rule multiply. Signals of resources are those of the second, all others of the whole window: a share of
attempts counts in proportion where there were fewer than three.

The words are those that a verdict prints after "consistent with"; PEER is the other end.

`,
		Rules: rules, Causes: event.PodCauseCount, Words: causeWords, Parts: []string{"whole window", "time"},
	}
	for _, s := range signalDocs {
		table.Signals = append(table.Signals,
			rulespage.Signal{Name: s.name, Unit: s.unit, Doc: s.doc, Source: string(s.source)})
	}
	want := table.Page()
	if *update {
		if err := os.WriteFile(rulesPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(rulesPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s differs from the rules: go test ./plugin/why/pods -run Docs -update", rulesPage)
	}
}
