package tui

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// tableHeader is the line of the column headers on the screen, counted from 0.
const tableHeader = headLines

// spare is how many rows are queried above and below the shown ones, for scrolling before the next answer.
const spare = 100

// wheelRows is how many rows the mouse wheel scrolls by.
const wheelRows = 3

// level is a table that was gone into, and the place in it.
type level struct {
	group  *model.Group
	within []model.Within
	// names are those of the rows that were gone into.
	names []string
	// cursor is the selected row, first the first that is shown; both count from the first of all rows.
	cursor, first int
}

// tablePage is the rows of a group.
type tablePage struct {
	*common
	area
	detail *detailPage
	levels []level

	// answer is the rows that are known, from offset on.
	answer model.Table
	offset int
}

func (t *tablePage) Name() string { return "table" }

func (t *tablePage) ShortHelp() []key.Binding {
	return t.keys.bindings(
		actHelp, actFilter, actEnter, actSort, actGroup, actWindow, actPause, actNextPage, actQuit,
	)
}

func (t *tablePage) SetSize(width, height int) {
	t.area.SetSize(width, height)
	t.clamp()
}

func (t *tablePage) request(q *question) {
	l := t.level()
	q.fetch = fetchRows
	q.query.Offset = max(l.first-spare, 0)
	q.query.Limit = l.first - q.query.Offset + t.rows() + spare
}

// drop keeps the rows: one may go back to them.
func (t *tablePage) drop() {}

func (t *tablePage) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case answer:
		t.answer, t.offset = msg.table, msg.question.query.Offset
		t.clamp()
	case tea.MouseClickMsg:
		return t.click(msg)
	case action:
		if msg == actEnter {
			return t.enter()
		}
		return t.scroll(msg)
	}
	return t.wheel(msg)
}

// scroll moves the cursor, on this page and on those that show the selected row or nothing that scrolls.
func (t *tablePage) scroll(a action) tea.Cmd {
	switch a {
	case actUp:
		return t.move(-1)
	case actDown:
		return t.move(1)
	case actPageUp:
		return t.move(-t.rows())
	case actPageDown:
		return t.move(t.rows())
	case actFirst:
		return t.move(-t.level().cursor)
	case actLast:
		return t.move(t.answer.Matching)
	}
	return nil
}

func (t *tablePage) wheel(msg tea.Msg) tea.Cmd {
	if by := wheelSteps(msg); by != 0 {
		return t.move(by)
	}
	return nil
}

// wheelSteps is by how many rows a message scrolls, downwards.
func wheelSteps(msg tea.Msg) int {
	if wheel, ok := msg.(tea.MouseWheelMsg); ok {
		switch wheel.Button {
		case tea.MouseWheelUp:
			return -wheelRows
		case tea.MouseWheelDown:
			return wheelRows
		}
	}
	return 0
}

// level is the table that is shown.
func (t *tablePage) level() *level { return &t.levels[len(t.levels)-1] }

// rows is how many rows there is room for, between the headers and the sums.
func (t *tablePage) rows() int { return max(t.height-2, 1) }

// row is the one at a place among all rows, if it is known.
func (t *tablePage) row(at int) (model.Row, bool) {
	i := at - t.offset
	if i < 0 || i >= len(t.answer.Rows) {
		return model.Row{}, false
	}
	return t.answer.Rows[i], true
}

func (t *tablePage) selected() (model.Row, bool) { return t.row(t.level().cursor) }

// clamp keeps the cursor on a row and the row in view. While it is paused, only the rows that are known can be shown.
func (t *tablePage) clamp() {
	l := t.level()
	first, last := 0, t.answer.Matching-1
	if t.paused {
		first = t.offset
		last = first + len(t.answer.Rows) - 1
	}
	l.cursor = max(min(l.cursor, last), first, 0)
	l.first = max(min(l.first, l.cursor, last-t.rows()+1), l.cursor-t.rows()+1, first, 0)
}

// top moves the cursor to the first row.
func (t *tablePage) top() { t.level().cursor, t.level().first = 0, 0 }

func (t *tablePage) move(by int) tea.Cmd {
	t.level().cursor += by
	t.clamp()
	return t.refresh()
}

// enter goes into the selected row: to its rows of the next group, and at the end to its detail.
func (t *tablePage) enter() tea.Cmd {
	row, ok := t.selected()
	if !ok {
		return nil
	}
	l := *t.level()
	next := t.o.Topic.Inner(l.group, l.within)
	if next == nil {
		return t.open(t.detail)
	}
	if t.paused {
		t.show(pausedMessage)
		return nil
	}
	t.levels = append(t.levels, level{
		group: next, names: append(slices.Clone(l.names), t.name(row.Event)),
		within: append(slices.Clone(l.within), model.Within{Group: l.group, Key: row.Key}),
	})
	t.filter.clear()
	t.answer = model.Table{}
	return t.refresh()
}

// back removes the filter, or goes back to the table before.
func (t *tablePage) back() tea.Cmd {
	switch {
	case t.filter.text != "":
		t.filter.clear()
	case len(t.levels) > 1 && !t.paused:
		t.levels = t.levels[:len(t.levels)-1]
		t.answer = model.Table{}
	}
	return t.refresh()
}

// click selects a row, goes into the one that is selected, or sorts by the column whose header it hits.
func (t *tablePage) click(msg tea.MouseClickMsg) tea.Cmd {
	if msg.Button != tea.MouseLeft {
		return nil
	}
	t.message = ""
	if msg.Y == tableHeader {
		at := 0
		for _, c := range t.layout() {
			if at += c.width + 1; msg.X < at {
				if c.column != nil && c.column.Get != nil {
					return t.sortBy(c.column)
				}
				return nil
			}
		}
		return nil
	}
	at := t.level().first + msg.Y - tableHeader - 1
	if _, known := t.row(at); msg.Y <= tableHeader || msg.Y > tableHeader+t.rows() || !known {
		return nil
	}
	if at == t.level().cursor {
		return t.enter()
	}
	return t.move(at - t.level().cursor)
}

// sortColumns are the columns that rows can be sorted by, and the place of the one that they are sorted by.
func (t *tablePage) sortColumns() (columns []*event.Column, at int) {
	for _, c := range tableColumns(t.o.Topic.Row, t.level().group) {
		if c.Get == nil {
			continue
		}
		if c == t.sort {
			at = len(columns)
		}
		columns = append(columns, c)
	}
	return columns, at
}

// sortBeside sorts by the column that stands so far beside the one that rows are sorted by.
func (t *tablePage) sortBeside(step int, ordered bool) tea.Cmd {
	columns, at := t.sortColumns()
	if t.sort = columns[(at+step+len(columns))%len(columns)]; ordered {
		t.descending = t.sort.Right()
	}
	return t.refresh()
}

func (t *tablePage) sortPicker() *picker {
	p := &picker{keys: &t.keys, title: "sort by", opens: actSort}
	columns, at := t.sortColumns()
	p.cursor = at
	for _, c := range columns {
		p.items = append(p.items, item{c.Header, c.Doc, func() tea.Cmd { return t.sortBy(c) }})
	}
	return p
}

func (t *tablePage) groupPicker() *picker {
	p := &picker{keys: &t.keys, title: "group by", opens: actGroup}
	for _, g := range t.o.Topic.Groups {
		if g == t.level().group {
			p.cursor = len(p.items)
		}
		p.items = append(p.items, item{g.Name, g.Doc, func() tea.Cmd { return t.groupBy(g) }})
	}
	return p
}

func (t *tablePage) groupBy(g *model.Group) tea.Cmd {
	if t.paused {
		t.show(pausedMessage)
		return nil
	}
	t.level().group = g
	t.top()
	t.answer = model.Table{}
	return t.open(t)
}

func (t *tablePage) layout() []placed {
	return place(tableColumns(t.o.Topic.Row, t.level().group), t.width)
}

func (t *tablePage) View() []string {
	layout := t.layout()
	l := t.level()
	out := []string{t.headers(layout, l.group.Name, t.sort)}
	shown := 0
	for at := l.first; at < l.first+t.rows(); at++ {
		row, ok := t.row(at)
		if !ok {
			break
		}
		shown++
		out = append(out, t.line(layout, row, at == l.cursor, t.width))
	}
	if shown == 0 {
		out = append(out, "", "  "+t.style.faint.Render(t.emptyReason()))
	}
	return append(filled(out, t.height-1), t.sums(shown))
}

// emptyReason is why there are no rows.
func (t *tablePage) emptyReason() string {
	switch {
	case t.answer.All > 0 && t.filter.match != nil:
		return fmt.Sprintf("none of %s matches; esc takes the filter away", plural.Count(t.answer.All, "row"))
	case len(t.status.Nodes) == 0:
		return "waiting for the tracers to start"
	}
	return "nothing yet: no " + strings.Join(t.o.Topic.Sources, " or ") + " events in the " + windowName(t.window)
}

// sums is the line below the rows: the place in the table, and the sum of all rows.
func (t *tablePage) sums(shown int) string {
	l := t.level()
	left := plural.Count(t.answer.Matching, "row")
	if t.answer.Matching > shown {
		left = fmt.Sprintf("%d–%d of %s", l.first+1, l.first+shown, left)
	}
	if t.answer.Matching < t.answer.All {
		left += fmt.Sprintf(" (%d in all)", t.answer.All)
	}
	var parts []string
	if sum := t.answer.Total.Event; sum != nil {
		for _, c := range tableColumns(t.o.Topic.Row, l.group)[1:] {
			if !c.Get(sum).IsNull() {
				parts = append(parts, strings.ToLower(c.Header)+" "+t.cell(c, sum))
			}
		}
	}
	right := cut("in all: "+strings.Join(parts, "  "), max(t.width-ansi.StringWidth(left)-3, 0))
	gap := max(t.width-ansi.StringWidth(left)-ansi.StringWidth(right), 1)
	return t.style.faint.Render(left + strings.Repeat(" ", gap) + right)
}
