package tui

import (
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// tableColumns are the columns of a table of a group's rows.
func tableColumns(k *event.Kind, g *model.Group) (all []*event.Column) {
	if g != nil && g.Columns != nil {
		return k.Named(g.Columns)
	}
	for i := range k.Columns {
		if c := &k.Columns[i]; c.Outputs&event.InTable != 0 {
			all = append(all, c)
		}
	}
	return all
}

// placed is a column with its width; that without a column is the trend.
type placed struct {
	column *event.Column
	width  int
}

const (
	leastName  = 16
	trendWidth = 10
)

// place gives the name column the remaining width. If that is too little, the last columns are omitted; if it is large,
// there is a trend column.
func place(columns []*event.Column, width int) []placed {
	name, rest := columns[0], columns[1:]
	left := width
	var out []placed
	for _, c := range rest {
		w := max(c.Width, len(c.Header)+1)
		if left-(w+1) < leastName {
			break
		}
		left -= w + 1
		out = append(out, placed{c, w})
	}
	if left >= leastName+8+trendWidth+1 {
		left -= trendWidth + 1
		out = slices.Insert(out, 0, placed{nil, trendWidth})
	}
	return slices.Insert(out, 0, placed{name, left})
}

// headers are the titles of columns. The first one is called by the group, and the one that rows are sorted by is
// marked, if any.
func (c *common) headers(layout []placed, first string, sorted *event.Column) string {
	var b strings.Builder
	for i, p := range layout {
		if i > 0 {
			b.WriteByte(' ')
		}
		if p.column == nil {
			b.WriteString(c.style.header.Render(fit("TREND", p.width, false)))
			continue
		}
		text, style := p.column.Header, c.style.header
		if p.column == sorted {
			style = c.style.sorted
			if c.descending {
				text += "▼"
			} else {
				text += "▲"
			}
		}
		if i == 0 && first != "" {
			text = strings.ToUpper(first) + strings.TrimPrefix(text, p.column.Header)
		}
		b.WriteString(style.Render(fit(text, p.width, p.column.Right())))
	}
	return b.String()
}

// marked are the columns whose numbers are failures.
var marked = []string{"failed", "retransmits", "nxdomain", "timeouts", "errors"}

func (c *common) line(layout []placed, row model.Row, selected bool, width int) string {
	var b strings.Builder
	for i, p := range layout {
		if i > 0 {
			b.WriteByte(' ')
		}
		if p.column == nil {
			trend := sparkline(row.Trend, p.width)
			if !selected { // colours in a reversed line would break it
				trend = c.style.accent.Render(trend)
			}
			b.WriteString(trend)
			continue
		}
		text := fit(c.cell(p.column, row.Event), p.width, p.column.Right())
		if !selected && slices.Contains(marked, p.column.Name) && p.column.Get(row.Event).Uint() > 0 {
			text = c.style.bad.Render(text)
		}
		b.WriteString(text)
	}
	if selected {
		return c.style.selected.Render(fit(b.String(), width, false))
	}
	return b.String()
}
