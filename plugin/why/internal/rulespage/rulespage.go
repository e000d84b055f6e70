// Package rulespage renders tables of rules as Markdown, for the documentation.
package rulespage

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// pageWidth is the width of the page, in columns.
const pageWidth = 120

// Signal describes a signal.
type Signal struct{ Name, Unit, Doc, Source string }

// Cause is a cause with its word.
type Cause interface {
	~int32
	Word() string
}

// Table is a table of rules with what describes it.
type Table[C Cause, S ~int] struct {
	// Intro is the page up to the rules, with its heading.
	Intro   string
	Rules   []engine.Rule[C, S]
	Causes  int
	Words   map[C]string
	Signals []Signal
	// Parts are the names of the parts, by number.
	Parts []string
}

// amount formats a threshold with its unit.
func (t *Table[C, S]) amount(s S, x float64) string {
	switch unit := t.Signals[s].Unit; {
	case unit == "bytes a second":
		return string(event.AppendRate(nil, x)) + "B/s"
	case unit == "s":
		return fmt.Sprintf("%g ms", 1000*x)
	case strings.HasPrefix(unit, "share"):
		return fmt.Sprintf("%g %%", 100*x)
	}
	return fmt.Sprintf("%g", x)
}

// conditions formats the conditions of a rule, those with "or" between them first.
func (t *Table[C, S]) conditions(list []engine.Condition[S]) string {
	var all, any []string
	for _, c := range list {
		text := fmt.Sprintf(
			"%s %s → %s",
			t.Signals[c.Signal].Name,
			t.amount(c.Signal, c.From),
			t.amount(c.Signal, c.To),
		)
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

// Page renders the table.
func (t *Table[C, S]) Page() string {
	var p page
	p.WriteString(t.Intro)
	described := map[C]bool{}
	for i := range t.Rules {
		r := &t.Rules[i]
		part, where := fmt.Sprintf("%s, turn %d", t.Parts[r.Part], r.Turn), t.conditions(r.Conditions)
		if r.Part == engine.OfWindow {
			part, where = t.Parts[r.Part], r.When
		} else if where == "" {
			where = "what is left"
		}
		p.item(0, fmt.Sprintf("`%s`, %s", r.Cause.Word(), part), where)
		if !described[r.Cause] {
			p.item(1, "words", t.Words[r.Cause])
		}
		described[r.Cause] = true
	}
	p.WriteString(`
## Confidence

A verdict has high confidence only if these signals are known, and no doubt reaches one half.

`)
	for i := range t.Rules {
		t.confidence(&p, &t.Rules[i])
	}
	p.WriteString("\n## What distinguishes causes\n\n")
	for i := range t.Rules {
		r := &t.Rules[i]
		for c := range C(t.Causes) {
			p.item(0, fmt.Sprintf("`%s`, `%s`", r.Cause.Word(), c.Word()), r.Apart[c])
		}
	}
	p.WriteString("\n## The signals\n\n")
	for _, s := range t.Signals {
		p.item(0, s.Name, s.Doc)
		p.item(1, "unit", s.Unit)
		p.item(1, "source", s.Source)
	}
	return p.String()
}

// confidence adds the signals and the doubts that decide the confidence of a rule's verdict.
func (t *Table[C, S]) confidence(p *page, r *engine.Rule[C, S]) {
	if len(r.Needs) == 0 && len(r.Doubts) == 0 {
		return
	}
	var needs []string
	for _, n := range r.Needs {
		needs = append(needs, t.Signals[n].Name)
	}
	p.item(0, "", fmt.Sprintf("`%s` (%s)", r.Cause.Word(), t.Parts[r.Part]))
	p.item(1, "known", strings.Join(needs, ", "))
	p.item(1, "doubts", t.conditions(r.Doubts))
}
