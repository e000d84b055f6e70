package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
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

// layout gives the name what room is left; where that is too little the last columns have none, and where it is plenty
// there is a trend.
func (s *screen) layout() []placed {
	return s.place(tableColumns(s.o.Topic.Row, s.level().group))
}

func (s *screen) place(columns []*event.Column) []placed {
	name, rest := columns[0], columns[1:]
	left := s.width
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

func (s *screen) tablePage(height int) []string {
	layout := s.layout()
	out := []string{s.headers(layout, s.level().group.Name, s.sort)}
	l := s.level()
	shown := 0
	for at := l.top; at < l.top+s.rows(); at++ {
		row, ok := s.row(at)
		if !ok {
			break
		}
		shown++
		out = append(out, s.line(layout, row, at == l.cursor))
	}
	if shown == 0 {
		out = append(out, "", "  "+s.nothing())
	}
	out = filled(out, height-1)
	return append(out, s.sums(shown))
}

// nothing says why there are no rows.
func (s *screen) nothing() string {
	t := &s.answer.table
	switch {
	case t.All > 0 && s.match != nil:
		return s.style.faint.Render(fmt.Sprintf(
			"none of %s matches; esc takes the filter away", plural.Count(t.All, "row"),
		))
	case len(s.answer.status.Nodes) == 0:
		return s.style.faint.Render("waiting for the tracers to start")
	}
	return s.style.faint.Render(
		"nothing yet: no " + strings.Join(s.o.Topic.Sources, " or ") + " events in the " + windowName(s.window),
	)
}

// headers are the titles of columns; the first one is called by what rows are counted together by, and that which they
// are sorted by is marked: nil, none is.
func (s *screen) headers(layout []placed, first string, sorted *event.Column) string {
	var b strings.Builder
	for i, p := range layout {
		if i > 0 {
			b.WriteByte(' ')
		}
		if p.column == nil {
			b.WriteString(s.style.header.Render(fit("TREND", p.width, false)))
			continue
		}
		text, style := p.column.Header, s.style.header
		if p.column == sorted {
			style = s.style.sorted
			if s.descending {
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

// marked are the columns whose numbers tell of trouble.
var marked = []string{"failed", "retransmits", "nxdomain", "timeouts", "errors"}

func (s *screen) line(layout []placed, row model.Row, selected bool) string {
	var b strings.Builder
	for i, p := range layout {
		if i > 0 {
			b.WriteByte(' ')
		}
		if p.column == nil {
			b.WriteString(s.plain(selected, s.style.accent.Render, sparkline(row.Trend, p.width)))
			continue
		}
		text := fit(cell(p.column, row.Event, s.view()), p.width, p.column.Right())
		if !selected && slices.Contains(marked, p.column.Name) && p.column.Get(row.Event).Uint() > 0 {
			text = s.style.bad.Render(text)
		}
		b.WriteString(text)
	}
	if selected {
		return s.style.selected.Render(fit(b.String(), s.width, false))
	}
	return b.String()
}

// plain styles text that is not selected: colours in a reversed line would break it.
func (s *screen) plain(selected bool, style func(...string) string, text string) string {
	if selected {
		return text
	}
	return style(text)
}

// sums is the line below the rows: where one is, and what all comes to.
func (s *screen) sums(shown int) string {
	t := &s.answer.table
	l := s.level()
	left := plural.Count(t.Matching, "row")
	if t.Matching > shown {
		left = fmt.Sprintf("%d–%d of %s", l.top+1, l.top+shown, left)
	}
	if t.Matching < t.All {
		left += fmt.Sprintf(" (%d in all)", t.All)
	}
	var parts []string
	if t.Total.Event != nil {
		for _, c := range tableColumns(s.o.Topic.Row, s.level().group)[1:] {
			if !c.Get(t.Total.Event).IsNull() {
				parts = append(
					parts,
					strings.ToLower(c.Header)+" "+string(safe.AppendBytes(
						nil, c.AppendCell(nil, t.Total.Event, s.view()),
					)),
				)
			}
		}
	}
	right := "in all: " + strings.Join(parts, "  ")
	right = cut(right, max(s.width-ansi.StringWidth(left)-3, 0))
	return s.style.faint.Render(left + strings.Repeat(
		" ", max(s.width-ansi.StringWidth(left)-ansi.StringWidth(right), 1),
	) + right)
}
