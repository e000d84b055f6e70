package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// panelGap is the space between panels that stand beside each other.
const panelGap = 2

// panel is a titled block of lines.
func (c *common) panel(title string, width int, body []string) []string {
	head := "── " + title + " "
	out := []string{c.style.header.Render(cut(head+strings.Repeat("─", max(width-ansi.StringWidth(head), 0)), width))}
	return append(out, body...)
}

// beside puts blocks next to each other, each so wide.
func beside(width, gap int, blocks ...[]string) []string {
	high := 0
	for _, b := range blocks {
		high = max(high, len(b))
	}
	out := make([]string, high)
	for i := range out {
		for j, b := range blocks {
			line := ""
			if i < len(b) {
				line = b[i]
			}
			if j > 0 {
				out[i] += strings.Repeat(" ", gap)
			}
			out[i] += fit(line, width, false)
		}
	}
	return out
}

// grid lays panels out in as many columns as there is room for.
func (a *area) grid(blocks [][]string) (out []string) {
	columns, width := a.panelColumns(), a.panelWidth()
	for i := 0; i < len(blocks); i += columns {
		out = append(out, beside(width, panelGap, blocks[i:min(i+columns, len(blocks))]...)...)
	}
	return out
}

// panelColumns is how many panels stand beside each other.
func (a *area) panelColumns() int {
	switch {
	case a.width >= 160:
		return 3
	case a.width >= 76:
		return 2
	}
	return 1
}

func (a *area) panelWidth() int {
	n := a.panelColumns()
	return (a.width - panelGap*(n-1)) / n
}

// addSummaries adds a panel for each group whose first rows are known.
func (c *common) addSummaries(blocks [][]string, a *answer, width int, empty bool) [][]string {
	for i, t := range a.summaries {
		if len(t.Rows) > 0 || empty {
			blocks = append(blocks, c.panel("by "+a.question.summaries[i].Name, width, c.summary(t, width)))
		}
	}
	return blocks
}

// summaries are the groups of the small tables: of those that have not been gone into, the first.
func (c *common) summaries(within []model.Within) (groups []*model.Group) {
	const most = 4
	for _, name := range []string{"pod", "peer", "question", "syscall", "server", "process", "workload", "node"} {
		g := c.o.Topic.GroupByName(name)
		used := slices.ContainsFunc(within, func(w model.Within) bool { return w.Group == g })
		if g != nil && !used && len(groups) < most {
			groups = append(groups, g)
		}
	}
	return groups
}

// summary is a small table: names, the sort column, and a bar.
func (c *common) summary(t model.Table, width int) (out []string) {
	columns := tableColumns(c.o.Topic.Row, nil)
	by := c.sort
	if !by.Right() {
		by = c.o.Topic.Row.Column(c.o.Topic.Sort)
	}
	most := 0.0
	value := func(r model.Row) float64 {
		v := by.Get(r.Event)
		if v.Kind() == event.FloatValue {
			return v.Float()
		}
		return float64(v.Uint())
	}
	for _, r := range t.Rows {
		most = max(most, value(r))
	}
	barWidth := max(width/5, 4)
	for _, r := range t.Rows {
		number := fit(c.cell(by, r.Event), 8, true)
		name := fit(c.cell(columns[0], r.Event), width-barWidth-8-2, false)
		share := 0.0
		if most > 0 {
			share = value(r) / most
		}
		out = append(out, name+" "+number+" "+c.style.accent.Render(bar(share, barWidth)))
	}
	if len(out) == 0 {
		return []string{c.style.faint.Render("nothing yet")}
	}
	if t.Matching > len(t.Rows) {
		out = append(out, c.style.faint.Render(fmt.Sprintf("and %d more", t.Matching-len(t.Rows))))
	}
	return out
}
