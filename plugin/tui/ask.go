package tui

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// question is what the screen needs to know.
type question struct {
	page   page
	query  model.Query
	groups []*model.Group // the small tables of the overview and of a detail
	few    int            // rows of each of them
	now    time.Time
}

// answer is what the source said to a question.
type answer struct {
	question question
	table    model.Table
	detail   model.Detail
	edges    []model.Edge
	waste    model.Table
	small    []model.Table
	status   model.Status
	took     time.Duration
}

type (
	tickMsg   time.Time
	answerMsg struct{ answer answer }
	noteMsg   string
)

// ask puts a question, outside of the screen's own goroutine: a source of many rows takes its time.
func ask(s Source, q question) tea.Cmd {
	return func() tea.Msg {
		began := time.Now()
		a := answer{question: q, status: s.Status(q.now)}
		switch q.page {
		case pageTable:
			a.table = s.Rows(q.query, q.now)
		case pageWaste:
			a.waste = s.Rows(q.query, q.now)
		case pageGraph:
			a.edges = s.Edges(q.query.Window, q.now)
		default:
			a.detail = s.Detail(q.query, q.now)
			for _, g := range q.groups {
				few := q.query
				few.Group, few.Offset, few.Limit, few.Match = g, 0, q.few, nil
				a.small = append(a.small, s.Rows(few, q.now))
			}
		}
		a.took = time.Since(began)
		return answerMsg{a}
	}
}

// matcher is what a text typed after / means: a CEL expression over the fields of a row where it is one, else a part of
// any of its words. problem is what is wrong with what looks like an expression.
func matcher(text string, row *event.Kind) (match func(*event.Event) (bool, error), cel bool, problem error) {
	if strings.TrimSpace(text) == "" {
		return nil, false, nil
	}
	f, err := filter.Compile(text, []*event.Kind{row})
	if err == nil {
		return f.Match, true, nil
	}
	if !strings.ContainsAny(text, "=<>!&|()\"'") {
		err = nil
	}
	return contains(text, row), false, err
}

// contains matches rows of which a name that is shown holds part, whatever the case.
func contains(part string, row *event.Kind) func(*event.Event) (bool, error) {
	part = strings.ToLower(part)
	var columns []*event.Column
	for _, c := range tableColumns(row, nil) {
		if c.Type == event.Text {
			columns = append(columns, c)
		}
	}
	return func(ev *event.Event) (bool, error) {
		for _, c := range columns {
			if strings.Contains(strings.ToLower(string(c.AppendCell(nil, ev, &event.View{}))), part) {
				return true, nil
			}
		}
		return false, nil
	}
}

// await hands on the next note.
func await(notes <-chan string) tea.Cmd {
	if notes == nil {
		return nil
	}
	return func() tea.Msg {
		n, ok := <-notes
		if !ok {
			return nil
		}
		return noteMsg(n)
	}
}
