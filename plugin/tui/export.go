package tui

import (
	"fmt"

	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// exportPicker chooses the format of an export.
func (s *screen) exportPicker() *picker {
	p := &picker{keys: &s.keys, title: "export all rows of the table", opens: actExport}
	for _, f := range []struct{ name, doc string }{{"json", "one object a line"}, {"csv", "for spreadsheets"}} {
		p.items = append(p.items, item{f.name, f.doc, func() tea.Cmd { return s.export(f.name) }})
	}
	return p
}

// export writes all rows of the table to a file.
func (s *screen) export(format string) tea.Cmd {
	if s.o.Export == nil {
		return nil
	}
	q, l := s.question(s.active), s.table.level()
	q.query.Group, q.query.Within, q.query.Offset, q.query.Limit = l.group, l.within, 0, 0
	if s.paused {
		q.now = s.asOf
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

// copy puts the selected row on the clipboard, as JSON.
func (s *screen) copy() tea.Cmd {
	row, ok := s.table.selected()
	if shown := s.detail.answer.detail.Row; s.active == s.detail && shown.Event != nil {
		row, ok = shown, true
	}
	if !ok {
		return nil
	}
	s.show("copied as JSON")
	return tea.SetClipboard(string(event.AppendJSON(nil, row.Event)))
}
