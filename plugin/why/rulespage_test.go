package why

import (
	"fmt"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// amount is a threshold with its unit.
func amount(s signal, x float64) string {
	switch unit := signalDocs[s].unit; {
	case unit == "bytes a second":
		return string(event.AppendRate(nil, x)) + "B/s"
	case strings.HasPrefix(unit, "share"):
		return fmt.Sprintf("%g %%", 100*x)
	}
	return fmt.Sprintf("%g", x)
}

func conditions(list []condition) string {
	var all, any []string
	for _, c := range list {
		from, to := amount(c.signal, c.from), amount(c.signal, c.to)
		text := fmt.Sprintf("%s %s → %s", signalDocs[c.signal].name, from, to)
		if c.any {
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

// RulesPage renders the rules as Markdown.
func RulesPage() string {
	var b strings.Builder
	b.WriteString(`# The rules of why gpu

<!-- Written by go test ./plugin/why -run Docs -update from the table in plugin/why/rules.go; do not edit. -->

The time of a GPU is divided second by second, by means over five seconds: that in which a kernel ran (busy), and that
in which none did (idle). Rules take parts of one of the two, in turns: what a rule of an earlier turn has taken is
gone, and rules of one turn that want more than there is share it in proportion. A condition "signal 20 % → 50 %" counts
nothing at 20 %, all at 50 %, and in proportion between them; conditions multiply, and of those with *or* between them
the strongest counts. Rules of all of the window go before all others.

| cause | of | turn | takes its part where | words, after "consistent with" |
|---|---|---|---|---|
`)
	for i := range rules {
		r := &rules[i]
		turn, where := fmt.Sprint(r.turn), conditions(r.conditions)
		if r.part == ofWindow {
			turn, where = "", r.when
		} else if where == "" {
			where = "what is left"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.cause.Word(), r.part, turn, where, causeWords[r.cause])
	}
	b.WriteString(`
## How sure

A verdict is of high confidence only where these are known, and none of the doubts holds by half or more.

| cause | has to be known | doubts |
|---|---|---|
`)
	for i := range rules {
		r := &rules[i]
		if len(r.needs) == 0 && len(r.doubts) == 0 {
			continue
		}
		var needs []string
		for _, n := range r.needs {
			needs = append(needs, signalDocs[n].name)
		}
		fmt.Fprintf(
			&b, "| `%s` (%s) | %s | %s |\n", r.cause.Word(), r.part, strings.Join(needs, ", "), conditions(r.doubts),
		)
	}
	b.WriteString("\n## What tells causes apart\n\n| | | by |\n|---|---|---|\n")
	for i := range rules {
		r := &rules[i]
		for c := range event.GpuCause(causeCount) {
			if r.apart[c] != "" {
				fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", r.cause.Word(), c.Word(), r.apart[c])
			}
		}
	}
	b.WriteString("\n## The signals\n\n| signal | unit | what it is | source |\n|---|---|---|---|\n")
	for _, s := range signalDocs {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.name, s.unit, s.doc, s.source)
	}
	return b.String()
}
