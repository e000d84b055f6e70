// Package lines writes verdicts for people: a block of labelled lines, safe for a terminal.
package lines

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

const (
	// labelWidth is the width of the labels' column.
	labelWidth = 12
	// worthALine is the share, in percent, from which on a cause is listed.
	worthALine = 2
)

// Name names the pod of a verdict, or the workload without one. Names in the namespace of the session stand without it.
func Name(ev *event.Event, namespace string) string {
	what := cmp.Or(ev.GetPod(), ev.GetWorkload())
	name := ev.GetNamespace() + "/" + what
	if namespace != "" && ev.GetNamespace() == namespace {
		name = what
	}
	if ev.GetWorkload() != "" && ev.GetPod() != "" {
		name += " (" + ev.GetWorkload() + ")"
	}
	if ev.GetNode() != "" {
		name += " on " + ev.GetNode()
	}
	return name
}

// Append appends a line with its label.
func Append(dst []byte, label, text string) []byte {
	dst = append(append(dst, "  "...), label...)
	for range max(labelWidth-len(label), 1) {
		dst = append(dst, ' ')
	}
	return append(safe.AppendText(dst, text), '\n')
}

// Shares lists causes by their shares, in percent, the largest first.
func Shares[C interface {
	~int32
	Word() string
}](percent []float64) string {
	var parts []string
	for _, c := range engine.Rank[C](percent) {
		if percent[c] >= worthALine {
			parts = append(parts, c.Word()+" "+strconv.FormatFloat(percent[c], 'f', 0, 64)+"%")
		}
	}
	return strings.Join(parts, ", ")
}

// Window says how long the window was, and how many events of the node were lost in it.
func Window(micros, lost uint64) string {
	length := (time.Duration(micros) * time.Microsecond).Round(100 * time.Millisecond).String()
	if lost > 0 {
		return length + "; " + plural.Count(lost, "event") + " of the node lost"
	}
	return length + "; nothing lost"
}

// Facts are the known numbers, with their names.
type Facts []string

// Add adds text, if there is any.
func (f *Facts) Add(text string) {
	if text != "" {
		*f = append(*f, text)
	}
}

// Percent adds a percentage with its name, if it is known.
func (f *Facts) Percent(name string, x *float64) {
	if x != nil {
		*f = append(*f, name+" "+strconv.FormatFloat(*x, 'f', 0, 64)+"%")
	}
}

// Rate adds a number with its unit, if it is known.
func (f *Facts) Rate(x *float64, unit string) {
	if x != nil {
		*f = append(*f, string(event.AppendRate(nil, *x))+unit)
	}
}

// BytesPerSecond adds a rate with its name, if it is known.
func (f *Facts) BytesPerSecond(name string, x *float64) {
	if x != nil {
		*f = append(*f, name+" "+string(event.AppendBytes(nil, uint64(max(*x, 0))))+"/s")
	}
}

// Count adds how many there were, if any.
func (f *Facts) Count(n uint64, what string) {
	if n > 0 {
		*f = append(*f, strconv.FormatUint(n, 10)+" "+what)
	}
}

// CPU adds the CPU time with its name and its limit.
func (f *Facts) CPU(name string, millis *float64, limit *uint64) {
	if millis == nil {
		return
	}
	of := " without a limit"
	if limit != nil {
		of = " of " + strconv.FormatUint(*limit, 10) + "m"
	}
	*f = append(*f, name+strconv.FormatFloat(*millis, 'f', 0, 64)+"m"+of)
}
