package tui

import (
	"fmt"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// picker is a short list to choose from, above the page.
type picker struct {
	title  string
	items  []item
	cursor int
	// again is the key that opened it; pressed once more it does what it does in vi: gg goes to the first row.
	again func() tea.Cmd
	opens key.Binding
}

type item struct {
	name, doc string
	choose    func() tea.Cmd
}

// doneMsg is what a command has to say when it is done.
type doneMsg string

func (s *screen) pick(msg tea.KeyPressMsg) tea.Cmd {
	p := s.picker
	switch {
	case key.Matches(msg, p.opens) && p.again != nil:
		s.picker = nil
		return p.again()
	case key.Matches(msg, s.keys.up):
		p.cursor = (p.cursor + len(p.items) - 1) % len(p.items)
	case key.Matches(msg, s.keys.down) || key.Matches(msg, p.opens):
		p.cursor = (p.cursor + 1) % len(p.items)
	case key.Matches(msg, s.keys.enter):
		s.picker = nil
		return p.items[p.cursor].choose()
	case key.Matches(msg, s.keys.back) || key.Matches(msg, s.keys.quit):
		s.picker = nil
	}
	return nil
}

func (s *screen) sortPicker() *picker {
	p := &picker{title: "sort by", opens: s.keys.sort}
	for _, c := range tableColumns(s.o.Topic.Row, s.level().group) {
		if c.Get == nil {
			continue
		}
		if c == s.sort {
			p.cursor = len(p.items)
		}
		p.items = append(p.items, item{c.Header, c.Doc, func() tea.Cmd { return s.sortBy(c) }})
	}
	return p
}

// sortBy sorts by a column: amounts from the largest, names from the first, and the other way round where it was sorted
// so.
func (s *screen) sortBy(c *event.Column) tea.Cmd {
	if c == s.sort {
		s.descending = !s.descending
	} else {
		s.sort, s.descending = c, c.Right()
	}
	return s.refresh()
}

// sortBeside sorts by the column that stands so far beside the one that is sorted by.
func (s *screen) sortBeside(step int) tea.Cmd {
	var columns []*event.Column
	at := 0
	for _, c := range tableColumns(s.o.Topic.Row, s.level().group) {
		if c.Get == nil {
			continue
		}
		if c == s.sort {
			at = len(columns)
		}
		columns = append(columns, c)
	}
	if s.sort = columns[(at+step+len(columns))%len(columns)]; s.page == pageTable {
		s.descending = s.sort.Right()
	}
	return s.refresh()
}

func (s *screen) groupPicker() *picker {
	p := &picker{title: "group by", opens: s.keys.group, again: func() tea.Cmd { return s.move(-s.level().cursor) }}
	for _, g := range s.o.Topic.Groups {
		if g == s.level().group {
			p.cursor = len(p.items)
		}
		p.items = append(p.items, item{g.Name, g.Doc, func() tea.Cmd {
			if s.paused {
				s.say("paused: space goes on")
				return nil
			}
			l := s.level()
			l.group, l.cursor, l.top = g, 0, 0
			s.page, s.answer.table = pageTable, model.Table{}
			return s.refresh()
		}})
	}
	return p
}

func (s *screen) exportPicker() *picker {
	p := &picker{title: "export all rows of the table", opens: s.keys.export}
	for _, f := range []struct{ name, doc string }{{"json", "one object a line"}, {"csv", "for spreadsheets"}} {
		p.items = append(p.items, item{f.name, f.doc, func() tea.Cmd { return s.exportAs(f.name) }})
	}
	return p
}

// exportAs writes all rows of the table to a file.
func (s *screen) exportAs(format string) tea.Cmd {
	if s.o.Export == nil {
		return nil
	}
	q := s.question()
	q.query.Group, q.query.Within, q.query.Offset, q.query.Limit = s.level().group, s.level().within, 0, 0
	if s.paused {
		q.now = s.answer.question.now
	}
	source, export := s.o.Source, s.o.Export
	return func() tea.Msg {
		var rows []*event.Event
		for _, r := range source.Rows(q.query, q.now).Rows {
			rows = append(rows, r.Event)
		}
		name, err := export(format, rows)
		if err != nil {
			return doneMsg("export: " + err.Error())
		}
		return doneMsg(fmt.Sprintf("%s written to %s", plural.Count(len(rows), "row"), name))
	}
}
