package tui

import (
	"cmp"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// detailPage shows the fields, time series and latencies of the selected row.
type detailPage struct {
	*common
	area
	table  *tablePage
	answer answer
}

func (p *detailPage) Name() string { return "detail" }

func (p *detailPage) ShortHelp() []key.Binding {
	return p.keys.bindings(actHelp, actBack, actWindow, actPause, actCopy, actNextPage, actQuit)
}

func (p *detailPage) request(q *question) {
	q.fetch = fetchDetail
	if row, ok := p.table.selected(); ok {
		q.query.Within = append(slices.Clone(q.query.Within), model.Within{Group: q.query.Group, Key: row.Key})
	}
	q.summaries = p.summaries(q.query.Within)
}

func (p *detailPage) drop() { p.answer = answer{} }

func (p *detailPage) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case answer:
		p.answer = msg
	case action:
		return p.table.scroll(msg)
	}
	return p.table.wheel(msg)
}

func (p *detailPage) View() []string {
	d := &p.answer.detail
	if d.Row.Event == nil {
		return p.notice(p.style.faint.Render("nothing is selected: 2 goes to the table"))
	}
	width := p.panelWidth()
	blocks := p.charts(max((p.height-16)/2, 3))
	blocks = append(blocks, p.panel("now", width, p.facts(d.Row.Event, width)))
	if len(d.Histogram) > 0 {
		blocks = append(blocks, p.panel(p.histogramName(), width, p.histogram(d.Histogram, width)))
	}
	blocks = p.addSummaries(blocks, &p.answer, width, false)
	title := p.style.title.Render(cut(p.name(d.Row.Event), p.width))
	return filled(append([]string{title}, p.grid(blocks)...), p.height)
}

func (p *detailPage) histogramName() string {
	if p.o.Topic.Name == "network" {
		return "round-trip times"
	}
	return "durations"
}

// facts returns the row's known fields.
func (p *detailPage) facts(ev *event.Event, width int) []string {
	var texts, numbers []string
	row := p.o.Topic.Row
	for i := range row.Columns {
		c := &row.Columns[i]
		if c.Get == nil || c.Get(ev).IsNull() || c.Name == "schemaVersion" || c.Name == "kind" || c.Name == "time" ||
			c.Name == "group" || c.Name == "name" {
			continue
		}
		value := p.cell(c, ev)
		if c.Type == event.Text { // names need the whole width, numbers do not
			texts = append(texts, p.style.faint.Render(fit(strings.ToLower(c.Header), 11, false))+cut(value, width-11))
			continue
		}
		numbers = append(numbers, p.style.faint.Render(fit(strings.ToLower(c.Header), 11, false))+value)
	}
	half := (len(numbers) + 1) / 2
	return append(texts, beside(width/2, 0, numbers[:half], numbers[half:])...)
}

// charts draw the time series of the last minutes. Lines of one unit share a chart.
func (p *detailPage) charts(height int) (blocks [][]string) {
	width := p.panelWidth()
	type chart struct {
		typ   event.Type
		unit  string
		lines []int
	}
	var all []chart
	lines := p.o.Topic.LinesOf(p.table.level().group)
	for i, l := range lines {
		if i >= len(p.answer.detail.Series) {
			break
		}
		if n := len(all); n > 0 && all[n-1].typ == l.Type && all[n-1].unit == l.Unit {
			all[n-1].lines = append(all[n-1].lines, i)
			continue
		}
		all = append(all, chart{l.Type, l.Unit, []int{i}})
	}
	for _, c := range all {
		var series [][]float64
		var names []string
		for _, i := range c.lines {
			points := p.answer.detail.Series[i]
			if len(points) == 0 {
				points = []float64{0}
			}
			if room := width - 12; len(points) > room {
				points = squeeze(points, room)
			}
			series = append(series, points)
			names = append(names, p.style.lines[i%len(p.style.lines)].Render(lines[i].Name))
		}
		body := p.plot(series, c.lines, c.typ, width, height)
		blocks = append(blocks, append([]string{
			p.style.header.Render("── ") + strings.Join(names, " ") + p.style.header.Render(
				cmp.Or(c.unit, " a second")+" ",
			),
		}, body...))
	}
	return blocks
}
