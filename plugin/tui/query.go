package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// question is the query of a page.
type question struct {
	page  page
	query model.Query
	// summaries are the groups of the small tables.
	summaries []*model.Group
	now       time.Time
	// fetch fills in the answer. It runs outside the screen's goroutine.
	fetch func(Source, *answer)
}

// answer is the source's answer to a question.
type answer struct {
	question  question
	table     model.Table
	detail    model.Detail
	edges     []model.Edge
	summaries []model.Table
	status    model.Status
}

type (
	tickMsg   time.Time
	answerMsg struct{ answer answer }
	noteMsg   string
	// doneMsg is the result of a command.
	doneMsg string
)

// runQuery runs a query outside the screen's goroutine, since a source with many rows takes long.
func runQuery(s Source, q question) tea.Cmd {
	return func() tea.Msg {
		a := answer{question: q, status: s.Status(q.now)}
		q.fetch(s, &a)
		return answerMsg{a}
	}
}

// fetchRows fetches the rows of the query.
func fetchRows(s Source, a *answer) { a.table = s.Rows(a.question.query, a.question.now) }

// fetchEdges fetches the edges of the graph.
func fetchEdges(s Source, a *answer) { a.edges = s.Edges(a.question.query.Window, a.question.now) }

// fetchDetail fetches the detail of the query, and its first rows by each group.
func fetchDetail(s Source, a *answer) {
	const rows = 5
	a.detail = s.Detail(a.question.query, a.question.now)
	for _, g := range a.question.summaries {
		few := a.question.query
		few.Group, few.Offset, few.Limit, few.Match = g, 0, rows, nil
		a.summaries = append(a.summaries, s.Rows(few, a.question.now))
	}
}

// await returns a command that waits for the next note.
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
