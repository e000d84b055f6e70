package tui

import (
	"fmt"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/plugin/graph"
)

// graphPage shows who calls whom.
func (s *screen) graphPage(height int) []string {
	if len(s.answer.edges) == 0 {
		return filled([]string{
			"", "  " + s.style.faint.Render("nobody has called anybody in the "+windowName(s.window)),
		}, height)
	}
	g, left := graph.Calls(s.answer.edges, s.o.Namespace)
	drawn := g.Text()
	s.scroll = max(min(s.scroll, len(drawn)-height), 0)
	var out []string
	for _, pieces := range drawn[s.scroll:min(s.scroll+height, len(drawn))] {
		var b strings.Builder
		for _, p := range pieces {
			b.WriteString(s.inked(p))
		}
		out = append(out, b.String())
	}
	if left > 0 && len(out) < height {
		out = append(out, s.style.faint.Render(fmt.Sprintf("and %d more calls", left)))
	}
	return filled(out, height)
}

// inked gives a piece of the picture its colour.
func (s *screen) inked(p graph.Piece) string {
	switch p.Role {
	case graph.Box:
		return s.style.accent.Render(p.Text)
	case graph.Name:
		return s.style.title.Render(p.Text)
	case graph.Line, graph.LineLabel:
		return s.style.faint.Render(p.Text)
	case graph.FailingLine, graph.FailingLabel:
		return s.style.bad.Render(p.Text)
	}
	return p.Text
}
