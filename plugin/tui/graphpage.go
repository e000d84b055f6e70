package tui

import (
	"fmt"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/plugin/graph"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// graphPage is the graph of clients and servers.
type graphPage struct {
	*common
	area
	edges []model.Edge
	// scroll is the first line that is shown.
	scroll scroller
}

func (p *graphPage) Name() string { return "graph" }

func (p *graphPage) ShortHelp() []key.Binding {
	return p.keys.bindings(actHelp, actNextPage, actWindow, actPause, actQuit)
}

func (p *graphPage) request(q *question) { q.fetch = fetchEdges }

func (p *graphPage) drop() { p.edges = nil }

func (p *graphPage) Update(msg tea.Msg) tea.Cmd {
	if a, ok := msg.(answer); ok {
		p.edges = a.edges
	}
	p.scroll.update(msg, p.height-overlap)
	return nil
}

func (p *graphPage) View() []string {
	if len(p.edges) == 0 {
		return p.notice(p.style.faint.Render("nobody has called anybody in the " + windowName(p.window)))
	}
	g, left := graph.Calls(p.edges, p.o.Namespace)
	drawn := g.Text()
	from, to := p.scroll.visible(len(drawn), p.height)
	var out []string
	for _, pieces := range drawn[from:to] {
		var b strings.Builder
		for _, piece := range pieces {
			b.WriteString(p.inked(piece))
		}
		out = append(out, b.String())
	}
	if left > 0 && len(out) < p.height {
		out = append(out, p.style.faint.Render(fmt.Sprintf("and %d more calls", left)))
	}
	return filled(out, p.height)
}

// inked colours a piece of the picture.
func (c *common) inked(p graph.Piece) string {
	switch p.Role {
	case graph.Box:
		return c.style.accent.Render(p.Text)
	case graph.Name:
		return c.style.title.Render(p.Text)
	case graph.Line, graph.LineLabel:
		return c.style.faint.Render(p.Text)
	case graph.FailingLine, graph.FailingLabel:
		return c.style.bad.Render(p.Text)
	}
	return p.Text
}
