package why

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/internal/rulespage"
)

// RulesPage renders the rules as Markdown.
func RulesPage() string {
	t := rulespage.Table[event.GpuCause, signal]{
		Intro: `# The rules of why gpu

<!-- Written by go test ./plugin/why -run Docs -update from the table in plugin/why/rules.go; do not edit. -->

Rules divide the time of a GPU second by second, by means over five seconds, into causes. Busy time is the time in which
a kernel ran, idle time the rest. A rule takes a share of one of the two, in turns: rules of a later turn divide what
the earlier ones have left, and rules of one turn that want more than that get proportional shares. A condition "signal
20 % → 50 %" is 0 at 20 %, 1 at 50 %, and linear between them. The conditions of a rule multiply; of conditions with
*or* between them the strongest counts. Rules of the whole window precede all others.

The first rule of each cause has the words that a verdict prints after "consistent with".

`,
		Rules: rules, Causes: causeCount, Words: causeWords, Parts: partNames,
	}
	for _, s := range signalDocs {
		t.Signals = append(t.Signals, rulespage.Signal{Name: s.name, Unit: s.unit, Doc: s.doc, Source: s.source})
	}
	return t.Page()
}
