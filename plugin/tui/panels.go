package tui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/guptarohit/asciigraph"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// panel is a titled block of lines.
func (s *screen) panel(title string, width int, body []string) []string {
	head := "── " + title + " "
	out := []string{s.style.header.Render(cut(head+strings.Repeat("─", max(width-ansi.StringWidth(head), 0)), width))}
	return append(out, body...)
}

// beside puts blocks next to each other, each so wide.
func beside(width, gap int, blocks ...[]string) []string {
	high := 0
	for _, b := range blocks {
		high = max(high, len(b))
	}
	out := make([]string, high)
	for i := range out {
		for j, b := range blocks {
			line := ""
			if i < len(b) {
				line = b[i]
			}
			if j > 0 {
				out[i] += strings.Repeat(" ", gap)
			}
			out[i] += fit(line, width, false)
		}
	}
	return out
}

// grid lays blocks out in as many columns as there is room for.
func (s *screen) grid(columns int, blocks [][]string) (out []string) {
	const gap = 2
	width := (s.width - gap*(columns-1)) / columns
	for i := 0; i < len(blocks); i += columns {
		out = append(out, beside(width, gap, blocks[i:min(i+columns, len(blocks))]...)...)
	}
	return out
}

// columnsOf is how many panels stand beside each other.
func (s *screen) columnsOf() int {
	switch {
	case s.width >= 160:
		return 3
	case s.width >= 76:
		return 2
	}
	return 1
}

func (s *screen) panelWidth() int {
	n := s.columnsOf()
	return (s.width - 2*(n-1)) / n
}

// overviewPage shows what all comes to, how the stream does, and the first of each group.
func (s *screen) overviewPage(height int) []string {
	width := s.panelWidth()
	var blocks [][]string
	blocks = append(blocks, s.panel("rates", width, s.rates(width)), s.panel("nodes", width, s.nodes(width)))
	for i, t := range s.answer.small {
		if i < len(s.answer.question.groups) {
			blocks = append(blocks, s.panel("by "+s.answer.question.groups[i].Name, width, s.few(t, width)))
		}
	}
	if n := len(s.notes); n > 0 {
		var last []string
		for _, note := range s.notes[max(n-3, 0):] {
			last = append(last, cut(safe.Text(note), width))
		}
		blocks = append(blocks, s.panel("notes", width, last))
	}
	return filled(s.grid(s.columnsOf(), blocks), height)
}

// lately is for how many seconds the last that was known is still called now: looks may be that far apart.
const lately = 10

// rates is a line for each of the topic's, with its course of the last minutes.
func (s *screen) rates(width int) (out []string) {
	for i, l := range s.o.Topic.LinesOf(s.answer.question.query.Group) {
		var points []float64
		if i < len(s.answer.detail.Series) {
			points = s.answer.detail.Series[i]
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
			out, text+s.style.lines[i%len(s.style.lines)].Render(sparkline(points[max(len(points)-room, 0):], room)),
		)
	}
	events := s.answer.status.PerSecond
	room := width - 22
	last := 0.0
	if len(events) > 0 {
		last = events[len(events)-1]
	}
	return append(
		out,
		fit("events", 11, false)+fit(
			amount(event.Count, last)+"/s", 10, true,
		)+" "+s.style.faint.Render(sparkline(events[max(len(events)-room, 0):], room)),
	)
}

// nodes is the state of each, and what was lost.
func (s *screen) nodes(width int) (out []string) {
	words := map[event.NodeState]string{
		event.NodeState_NODE_STATE_STARTING: "… starting", event.NodeState_NODE_STATE_STREAMING: "streaming",
		event.NodeState_NODE_STATE_RECONNECTING: "! reconnecting",
		event.NodeState_NODE_STATE_FAILED:       "! failed", event.NodeState_NODE_STATE_STOPPED: "nothing to trace",
	}
	for i, n := range s.answer.status.Nodes {
		if i == 6 {
			out = append(out, s.style.faint.Render(fmt.Sprintf("and %d more", len(s.answer.status.Nodes)-i)))
			break
		}
		word := words[n.State]
		line := fit(safe.Text(n.Name), min(24, width/2), false) + " " + word
		if n.Message != "" && n.State != event.NodeState_NODE_STATE_STREAMING {
			line += ": " + safe.Text(n.Message)
		}
		line = cut(line, width)
		if strings.HasPrefix(word, "!") {
			line = s.style.bad.Render(line)
		}
		out = append(out, line)
	}
	for _, p := range losses.Places(losses.Real(s.answer.status.Losses)) {
		out = append(
			out,
			s.style.bad.Render(cut(
				safe.Text(fmt.Sprintf("! %s lost %s (%s)", p.Node, plural.Count(p.Count, "event"), p.Where)), width,
			)),
		)
		for _, pod := range p.Pods {
			out = append(out, s.style.bad.Render(cut("  "+safe.Text(pod), width)))
		}
	}
	if len(out) == 0 {
		out = []string{s.style.faint.Render("no node yet")}
	}
	if st := s.answer.status; st.Folded > 0 {
		out = append(out, cut(fmt.Sprintf("%d kept, %d counted as others", st.Leaves, st.Folded), width))
	}
	return out
}

// few is a small table: names, the sort column, and a bar.
func (s *screen) few(t model.Table, width int) (out []string) {
	columns := tableColumns(s.o.Topic.Row, nil)
	by := s.sort
	if !by.Right() {
		by = s.o.Topic.Row.Column(s.o.Topic.Sort)
	}
	most := 0.0
	value := func(r model.Row) float64 {
		v := by.Get(r.Event)
		if v.Kind() == event.FloatValue {
			return v.Float()
		}
		return float64(v.Uint())
	}
	for _, r := range t.Rows {
		most = max(most, value(r))
	}
	barWidth := max(width/5, 4)
	for _, r := range t.Rows {
		number := fit(cell(by, r.Event, s.view()), 8, true)
		name := fit(cell(columns[0], r.Event, s.view()), width-barWidth-8-2, false)
		share := 0.0
		if most > 0 {
			share = value(r) / most
		}
		out = append(out, name+" "+number+" "+s.style.accent.Render(bar(share, barWidth)))
	}
	if len(out) == 0 {
		return []string{s.style.faint.Render("nothing yet")}
	}
	if t.Matching > len(t.Rows) {
		out = append(out, s.style.faint.Render(fmt.Sprintf("and %d more", t.Matching-len(t.Rows))))
	}
	return out
}

// detailPage shows all that is known of the selected row.
func (s *screen) detailPage(height int) []string {
	d := &s.answer.detail
	if d.Row.Event == nil || s.answer.question.page != pageDetail {
		return filled([]string{"", "  " + s.style.faint.Render("nothing is selected: 2 goes to the table")}, height)
	}
	width := s.panelWidth()
	name := cell(s.o.Topic.Row.Column("name"), d.Row.Event, s.view())
	out := []string{s.style.title.Render(cut(name, s.width))}
	charts := s.charts(max((height-16)/2, 3))
	var blocks [][]string
	blocks = append(blocks, charts...)
	blocks = append(blocks, s.panel("now", width, s.facts(d.Row.Event, width)))
	if len(d.Histogram) > 0 {
		blocks = append(blocks, s.panel(s.histogramName(), width, s.histogram(d.Histogram, width)))
	}
	for i, t := range s.answer.small {
		if i < len(s.answer.question.groups) && len(t.Rows) > 0 {
			blocks = append(blocks, s.panel("by "+s.answer.question.groups[i].Name, width, s.few(t, width)))
		}
	}
	return filled(append(out, s.grid(s.columnsOf(), blocks)...), height)
}

func (s *screen) histogramName() string {
	if s.o.Topic.Name == "network" {
		return "round-trip times"
	}
	return "durations"
}

// facts are the fields that are known.
func (s *screen) facts(ev *event.Event, width int) []string {
	var texts, numbers []string
	row := s.o.Topic.Row
	for i := range row.Columns {
		c := &row.Columns[i]
		if c.Get == nil || c.Get(ev).IsNull() || c.Name == "schemaVersion" || c.Name == "kind" || c.Name == "time" ||
			c.Name == "group" || c.Name == "name" {
			continue
		}
		value := cell(c, ev, s.view())
		if c.Type == event.Text { // names need the whole width, numbers do not
			texts = append(texts, s.style.faint.Render(fit(strings.ToLower(c.Header), 11, false))+cut(value, width-11))
			continue
		}
		numbers = append(numbers, s.style.faint.Render(fit(strings.ToLower(c.Header), 11, false))+value)
	}
	half := (len(numbers) + 1) / 2
	return append(texts, beside(width/2, 0, numbers[:half], numbers[half:])...)
}

// charts are the courses of the last minutes; lines of one unit share a chart.
func (s *screen) charts(height int) (blocks [][]string) {
	width := s.panelWidth()
	type chart struct {
		typ   event.Type
		unit  string
		lines []int
	}
	var all []chart
	lines := s.o.Topic.LinesOf(s.level().group)
	for i, l := range lines {
		if i >= len(s.answer.detail.Series) {
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
			points := s.answer.detail.Series[i]
			if len(points) == 0 {
				points = []float64{0}
			}
			if room := width - 12; len(points) > room {
				points = squeeze(points, room)
			}
			series = append(series, points)
			names = append(names, s.style.lines[i%len(s.style.lines)].Render(lines[i].Name))
		}
		body := s.plot(series, c.lines, c.typ, width, height)
		blocks = append(blocks, append([]string{
			s.style.header.Render("── ") + strings.Join(names, " ") + s.style.header.Render(
				cmp.Or(c.unit, " a second")+" ",
			),
		}, body...))
	}
	return blocks
}

func (s *screen) plot(series [][]float64, which []int, typ event.Type, width, height int) []string {
	most := 0.0
	known := false
	for _, points := range series {
		most = max(most, highest(points))
		known = known || slices.ContainsFunc(points, func(p float64) bool { return !math.IsNaN(p) })
	}
	if !known {
		return []string{s.style.faint.Render(cut(event.NotAvailable, width))}
	}
	var colours []asciigraph.AnsiColor
	for _, i := range which {
		colours = append(colours, chartColours[i%len(chartColours)])
	}
	text := asciigraph.PlotMany(series, asciigraph.Height(max(height-1, 2)), asciigraph.LowerBound(0),
		asciigraph.UpperBound(max(most, 1)), asciigraph.SeriesColors(colours...),
		asciigraph.YAxisValueFormatter(func(v float64) string { return fit(amount(typ, v), 7, true) }))
	out := lines(text)
	for i := range out {
		out[i] = cut(out[i], width)
	}
	return out
}

// chartColours are those of style.lines, as the charts' library names them.
var chartColours = []asciigraph.AnsiColor{
	asciigraph.Blue, asciigraph.Yellow, asciigraph.Magenta, asciigraph.Red, asciigraph.Cyan,
}

// histogram draws how many took how long.
func (s *screen) histogram(buckets []model.Bucket, width int) (out []string) {
	all, most := 0.0, 0.0
	for _, b := range buckets {
		all += b.Count
		most = max(most, b.Count)
	}
	const most16 = 12
	if len(buckets) > most16 { // the tails together
		buckets = buckets[:most16]
	}
	room := max(width-28, 4)
	for _, b := range buckets {
		label := "< " + string(event.AppendNanos(nil, b.To))
		share := 0.0
		if most > 0 {
			share = b.Count / most
		}
		out = append(
			out,
			fit(label, 10, true)+" "+fit(s.style.accent.Render(bar(share, room)), room, false)+fit(
				fmt.Sprintf("%.1f%%", 100*b.Count/max(all, 1)), 7, true,
			),
		)
	}
	return out
}
