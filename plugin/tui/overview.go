package tui

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// overviewPage is the sums, the state of the nodes, and the first rows of each group.
type overviewPage struct {
	*common
	area
	table  *tablePage
	answer answer
}

func (p *overviewPage) Name() string { return "overview" }

func (p *overviewPage) ShortHelp() []key.Binding {
	return p.keys.bindings(actHelp, actNextPage, actWindow, actPause, actQuit)
}

func (p *overviewPage) request(q *question) {
	q.fetch = fetchDetail
	q.query.Within, q.query.Group = nil, p.o.Topic.Groups[0]
	q.summaries = p.summaries(nil)
}

func (p *overviewPage) drop() { p.answer = answer{} }

func (p *overviewPage) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case answer:
		p.answer = msg
	case action:
		return p.table.scroll(msg)
	}
	return p.table.wheel(msg)
}

func (p *overviewPage) View() []string {
	width := p.panelWidth()
	blocks := [][]string{p.panel("rates", width, p.rates(width)), p.panel("nodes", width, p.nodes(width))}
	blocks = p.addSummaries(blocks, &p.answer, width, true)
	if n := len(p.notes); n > 0 {
		const shown = 3
		var last []string
		for _, note := range p.notes[max(n-shown, 0):] {
			last = append(last, cut(safe.Text(note), width))
		}
		blocks = append(blocks, p.panel("notes", width, last))
	}
	return filled(p.grid(blocks), p.height)
}

// lately is for how many seconds the last known value counts as the present one: samples may be that far apart.
const lately = 10

// rates is a line for each of the topic's time series.
func (p *overviewPage) rates(width int) (out []string) {
	for i, l := range p.o.Topic.LinesOf(p.answer.question.query.Group) {
		var points []float64
		if i < len(p.answer.detail.Series) {
			points = p.answer.detail.Series[i]
		}
		now := ""
		if n := len(points); n > 0 {
			n--
			for back := 0; back < lately && n > 0 && math.IsNaN(points[n]); back++ {
				n--
			}
			now = amount(l.Type, points[n])
			if !math.IsNaN(points[n]) {
				now += cmp.Or(l.Unit, "/s")
			}
		}
		text := fit(l.Name, 11, false) + fit(now, 10, true) + " "
		room := width - ansi.StringWidth(text)
		out = append(
			out, text+p.style.lines[i%len(p.style.lines)].Render(sparkline(points[max(len(points)-room, 0):], room)),
		)
	}
	events := p.status.PerSecond
	room := width - 22
	last := 0.0
	if len(events) > 0 {
		last = events[len(events)-1]
	}
	return append(
		out,
		fit("events", 11, false)+fit(
			amount(event.Count, last)+"/s", 10, true,
		)+" "+p.style.faint.Render(sparkline(events[max(len(events)-room, 0):], room)),
	)
}

// nodes is the state of each, and what was lost.
func (p *overviewPage) nodes(width int) (out []string) {
	words := map[event.NodeState]string{
		event.NodeState_NODE_STATE_STARTING: "… starting", event.NodeState_NODE_STATE_STREAMING: "streaming",
		event.NodeState_NODE_STATE_RECONNECTING: "! reconnecting",
		event.NodeState_NODE_STATE_FAILED:       "! failed", event.NodeState_NODE_STATE_STOPPED: "nothing to trace",
	}
	for i, n := range p.status.Nodes {
		if i == 6 {
			out = append(out, p.style.faint.Render(fmt.Sprintf("and %d more", len(p.status.Nodes)-i)))
			break
		}
		word := words[n.State]
		line := fit(safe.Text(n.Name), min(24, width/2), false) + " " + word
		if n.Message != "" && n.State != event.NodeState_NODE_STATE_STREAMING {
			line += ": " + safe.Text(n.Message)
		}
		line = cut(line, width)
		if strings.HasPrefix(word, "!") {
			line = p.style.bad.Render(line)
		}
		out = append(out, line)
	}
	for _, lost := range losses.Places(losses.Real(p.status.Losses)) {
		out = append(
			out,
			p.style.bad.Render(cut(
				safe.Text(
					fmt.Sprintf("! %s lost %s (%s)", lost.Node, plural.Count(lost.Count, "event"), lost.Where),
				),
				width,
			)),
		)
		for _, pod := range lost.Pods {
			out = append(out, p.style.bad.Render(cut("  "+safe.Text(pod), width)))
		}
	}
	if len(out) == 0 {
		out = []string{p.style.faint.Render("no node yet")}
	}
	if st := p.status; st.Folded > 0 {
		out = append(out, cut(fmt.Sprintf("%d kept, %d counted as others", st.Series, st.Folded), width))
	}
	return out
}
