package tui

import (
	"fmt"
	"math"
	"slices"

	"github.com/guptarohit/asciigraph"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

func (c *common) plot(series [][]float64, which []int, typ event.Type, width, height int) []string {
	most := 0.0
	known := false
	for _, points := range series {
		most = max(most, highest(points))
		known = known || slices.ContainsFunc(points, func(p float64) bool { return !math.IsNaN(p) })
	}
	if !known {
		return []string{c.style.faint.Render(cut(event.NotAvailable, width))}
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

// histogram draws the distribution of durations.
func (c *common) histogram(buckets []model.Bucket, width int) (out []string) {
	all, most := 0.0, 0.0
	for _, b := range buckets {
		all += b.Count
		most = max(most, b.Count)
	}
	const shown = 12
	buckets = buckets[:min(len(buckets), shown)]
	room := max(width-28, 4)
	for _, b := range buckets {
		label := "< " + string(event.AppendNanos(nil, b.To))
		share := 0.0
		if most > 0 {
			share = b.Count / most
		}
		out = append(
			out,
			fit(label, 10, true)+" "+fit(c.style.accent.Render(bar(share, room)), room, false)+fit(
				fmt.Sprintf("%.1f%%", 100*b.Count/max(all, 1)), 7, true,
			),
		)
	}
	return out
}
