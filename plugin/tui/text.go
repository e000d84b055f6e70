package tui

import (
	"math"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// fit makes text exactly so many cells wide: cut with an ellipsis, or padded.
func fit(s string, width int, right bool) string {
	if width <= 0 {
		return ""
	}
	n := ansi.StringWidth(s)
	if n > width {
		s = ansi.Truncate(s, width, "…")
		n = ansi.StringWidth(s)
	}
	pad := strings.Repeat(" ", max(width-n, 0))
	if right {
		return pad + s
	}
	return s + pad
}

// cut makes a line no wider.
func cut(s string, width int) string {
	if ansi.StringWidth(s) <= width {
		return s
	}
	return ansi.Truncate(s, max(width, 0), "…")
}

// cell is a column's cell, safe for a terminal.
func cell(c *event.Column, ev *event.Event, v *event.View) string {
	return string(safe.AppendBytes(nil, c.AppendCell(nil, ev, v)))
}

var blocks = []rune("▁▂▃▄▅▆▇█")

// sparkline draws values in so many cells, the newest at the right.
func sparkline(values []float64, width int) string {
	if width <= 0 {
		return ""
	}
	if len(values) > width {
		values = squeeze(values, width)
	}
	most := highest(values)
	out := make([]rune, 0, width)
	for range width - len(values) {
		out = append(out, ' ')
	}
	for _, v := range values {
		switch {
		case v <= 0, math.IsNaN(v):
			out = append(out, ' ')
		default:
			out = append(out, blocks[min(int(v/most*float64(len(blocks))), len(blocks)-1)])
		}
	}
	return string(out)
}

// highest is the highest of the values that are known, and not less than 0.
func highest(values []float64) (most float64) {
	for _, v := range values {
		if !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	return most
}

// squeeze reduces many values to the means of the known ones in equal parts; NaN without a known one.
func squeeze(values []float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		known := 0
		for _, v := range values[i*len(values)/n : (i+1)*len(values)/n] {
			if !math.IsNaN(v) {
				out[i] += v
				known++
			}
		}
		out[i] /= float64(known) // of none: NaN
	}
	return out
}

// bar draws a share of so many cells, in eighths.
func bar(share float64, width int) string {
	const parts = " ▏▎▍▌▋▊▉█"
	eighths := int(max(min(share, 1), 0)*float64(width)*8 + 0.5)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune(parts)[rest])
	}
	return s
}

// amount is a number of a line's type for people; NaN is none that is known.
func amount(t event.Type, n float64) string {
	if math.IsNaN(n) {
		return event.NotAvailable
	}
	n = max(n, 0)
	switch t {
	case event.Bytes:
		return string(event.AppendBytes(nil, uint64(n+0.5)))
	case event.Nanos:
		return string(event.AppendNanos(nil, uint64(n+0.5)))
	}
	return string(event.AppendRate(nil, n))
}
