package why_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
)

// TestDocsAreCurrent writes the page of the rules from their table.
func TestDocsAreCurrent(t *testing.T) {
	golden(t, "../../docs/why-gpu-rules.md", rulesPage())
}

// amount is a threshold with its unit.
func amount(s why.Signal, x float64) string {
	switch unit := why.Signals[s].Unit; {
	case unit == "bytes a second":
		return string(event.AppendRate(nil, x)) + "B/s"
	case strings.HasPrefix(unit, "share"):
		return fmt.Sprintf("%g %%", 100*x)
	}
	return fmt.Sprintf("%g", x)
}

func conditions(list []why.Condition) string {
	var all, any []string
	for _, c := range list {
		text := fmt.Sprintf("%s %s → %s", why.Signals[c.Signal].Name, amount(c.Signal, c.From), amount(c.Signal, c.To))
		if c.Any {
			any = append(any, text)
		} else {
			all = append(all, text)
		}
	}
	if len(any) > 0 {
		all = append([]string{strings.Join(any, " *or* ")}, all...)
	}
	return strings.Join(all, "; ")
}

func rulesPage() string {
	var b strings.Builder
	b.WriteString(`# The rules of why gpu

<!-- Written by go test ./plugin/why -run Docs -update from the table in plugin/why/rules.go; do not edit. -->

The time of a GPU is divided second by second, by means over five seconds: that in which a kernel ran (busy), and that in which none did (idle). Rules take parts of one of the two, in turns: what a
rule of an earlier turn has taken is gone, and rules of one turn that want more than there is share it in proportion. A condition "signal 20 % → 50 %" counts nothing at 20 %, all at 50 %, and in proportion between them; conditions
multiply, and of those with *or* between them the strongest counts. Rules of all of the window go before all others.

| cause | of | turn | takes its part where | words, after "consistent with" |
|---|---|---|---|---|
`)
	for i := range why.Rules {
		r := &why.Rules[i]
		turn, where := fmt.Sprint(r.Turn), conditions(r.Conditions)
		if r.Part == why.Whole {
			turn, where = "", r.When
		} else if where == "" {
			where = "what is left"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.Cause.Word(), r.Part, turn, where, r.Words)
	}
	b.WriteString(
		"\n## How sure\n\nA verdict is of high confidence only where these are known, and none of the doubts holds by half or more.\n\n| cause | has to be known | doubts |\n|---|---|---|\n",
	)
	for i := range why.Rules {
		r := &why.Rules[i]
		if len(r.Needs) == 0 && len(r.Doubts) == 0 {
			continue
		}
		var needs []string
		for _, n := range r.Needs {
			needs = append(needs, why.Signals[n].Name)
		}
		fmt.Fprintf(
			&b, "| `%s` (%s) | %s | %s |\n", r.Cause.Word(), r.Part, strings.Join(needs, ", "), conditions(r.Doubts),
		)
	}
	b.WriteString("\n## What tells causes apart\n\n| | | by |\n|---|---|---|\n")
	for i := range why.Rules {
		r := &why.Rules[i]
		for c := event.GpuCause(0); c <= event.GpuCause_GPU_CAUSE_SICK; c++ {
			if r.Apart[c] != "" {
				fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", r.Cause.Word(), c.Word(), r.Apart[c])
			}
		}
	}
	b.WriteString("\n## The signals\n\n| signal | unit | what it is | source |\n|---|---|---|---|\n")
	for _, s := range why.Signals {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.Name, s.Unit, s.Doc, s.Source)
	}
	return b.String()
}

// onlyHere are numbers that other CPUs' arithmetic may round otherwise.
func onlyHere(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden file was written on amd64")
	}
}
