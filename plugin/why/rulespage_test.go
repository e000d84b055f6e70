package why

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// pageWidth is the width of the page, in columns.
const pageWidth = 120

// amount formats a threshold with its unit.
func amount(s signal, x float64) string {
	switch unit := signalDocs[s].unit; {
	case unit == "bytes a second":
		return string(event.AppendRate(nil, x)) + "B/s"
	case strings.HasPrefix(unit, "share"):
		return fmt.Sprintf("%g %%", 100*x)
	}
	return fmt.Sprintf("%g", x)
}

// conditions formats the conditions of a rule, those with "or" between them first.
func conditions(list []condition) string {
	var all, any []string
	for _, c := range list {
		from, to := amount(c.Signal, c.From), amount(c.Signal, c.To)
		text := fmt.Sprintf("%s %s → %s", signalDocs[c.Signal].name, from, to)
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

// page builds Markdown lists whose lines are at most pageWidth wide.
type page struct{ strings.Builder }

// item adds a list item: "name: text", or only text where name is empty. Without text it adds nothing.
func (p *page) item(depth int, name, text string) {
	if text == "" {
		return
	}
	if name != "" {
		text = name + ": " + text
	}
	indent := strings.Repeat("  ", depth)
	line := indent + "-"
	for _, word := range strings.Fields(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > pageWidth {
			p.WriteString(line + "\n")
			line = indent + " "
		}
		line += " " + word
	}
	p.WriteString(line + "\n")
}

// RulesPage renders the rules as Markdown.
func RulesPage() string {
	var p page
	p.WriteString(`# The rules of why gpu

<!-- Written by go test ./plugin/why -run Docs -update from the table in plugin/why/rules.go; do not edit. -->

Rules divide the time of a GPU second by second, by means over five seconds, into causes. Busy time is the time in which
a kernel ran, idle time the rest. A rule takes a share of one of the two, in turns: rules of a later turn divide what
the earlier ones have left, and rules of one turn that want more than that get proportional shares. A condition "signal
20 % → 50 %" is 0 at 20 %, 1 at 50 %, and linear between them. The conditions of a rule multiply; of conditions with
*or* between them the strongest counts. Rules of the whole window precede all others.

The first rule of each cause has the words that a verdict prints after "consistent with".

`)
	described := map[event.GpuCause]bool{}
	for i := range rules {
		r := &rules[i]
		p.rule(r)
		if !described[r.Cause] {
			p.item(1, "words", causeWords[r.Cause])
		}
		described[r.Cause] = true
	}
	p.WriteString(`
## Confidence

A verdict has high confidence only if these signals are known, and no doubt reaches one half.

`)
	for i := range rules {
		p.confidence(&rules[i])
	}
	p.WriteString("\n## What distinguishes causes\n\n")
	for i := range rules {
		r := &rules[i]
		for c := range event.GpuCause(causeCount) {
			p.item(0, fmt.Sprintf("`%s`, `%s`", r.Cause.Word(), c.Word()), r.Apart[c])
		}
	}
	p.WriteString("\n## The signals\n\n")
	for _, s := range signalDocs {
		p.item(0, s.name, s.doc)
		p.item(1, "unit", s.unit)
		p.item(1, "source", s.source)
	}
	return p.String()
}

// rule adds a rule with its conditions.
func (p *page) rule(r *rule) {
	part, where := fmt.Sprintf("%s, turn %d", partNames[r.Part], r.Turn), conditions(r.Conditions)
	if r.Part == ofWindow {
		part, where = partNames[r.Part], r.When
	} else if where == "" {
		where = "what is left"
	}
	p.item(0, fmt.Sprintf("`%s`, %s", r.Cause.Word(), part), where)
}

// confidence adds the signals and the doubts that decide the confidence of a rule's verdict.
func (p *page) confidence(r *rule) {
	if len(r.Needs) == 0 && len(r.Doubts) == 0 {
		return
	}
	var needs []string
	for _, n := range r.Needs {
		needs = append(needs, signalDocs[n].name)
	}
	p.item(0, "", fmt.Sprintf("`%s` (%s)", r.Cause.Word(), partNames[r.Part]))
	p.item(1, "known", strings.Join(needs, ", "))
	p.item(1, "doubts", conditions(r.Doubts))
}
