package plugin

import (
	"math"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// intake filters events and records those that pass, before they are shown.
type intake struct {
	reporter *reporter
	filter   *filter.Filter
	recorder *history.Writer // nil: nothing is recorded
	// events counts the events that pass, without nodeStatus and lost. A sum counts as its flows.
	events int
}

// take reports whether an event is to be shown.
func (i *intake) take(ev *event.Event) bool {
	match, err := i.filter.Match(ev)
	if err != nil {
		i.reporter.LogOncef("filter: %v: such events are not shown", err)
	}
	if !match {
		return false
	}
	i.record(ev)
	switch {
	case ev.GetNodeStatus() != nil, ev.GetLost() != nil:
	case ev.GetFlowSum() != nil:
		i.events += int(min(ev.GetFlowSum().GetFlows(), math.MaxInt32))
	default:
		i.events++
	}
	return true
}

// record adds an event to the recording, if there is one.
func (i *intake) record(ev *event.Event) {
	if i.recorder == nil {
		return
	}
	if err := i.recorder.Write(ev); err != nil {
		i.reporter.LogOncef("recording: %v: it ends here", err)
	}
}

func (i *intake) Shown() int { return i.events }

// end closes the recording.
func (i *intake) end() {
	if i.recorder == nil {
		return
	}
	if err := i.recorder.Close(); err != nil {
		i.reporter.LogOncef("recording: %v: it ends here", err)
	}
	events, bytes := i.recorder.Written()
	i.reporter.Logf("recorded %d %s, %s", events, plural.Noun(events, "event"), event.AppendBytes(nil, uint64(bytes)))
}

// view prints the events of a trace or of a recording, and the closing lines about them.
type view struct {
	intake
	printer    render.Printer
	showStatus bool
	advice     *advice.Advice
}

// Show takes one event. An error means that nobody reads what is printed.
func (v *view) Show(ev *event.Event) error {
	v.advice.Add(ev)
	if !v.take(ev) || ev.GetNodeStatus() != nil && !v.showStatus {
		return nil
	}
	return v.printer.Print(ev)
}

// Close prints the held rows and the closing lines.
func (v *view) Close() error {
	err := v.printer.Close()
	v.end()
	v.reporter.lines(v.advice.Lines())
	return err
}

func newView(i intake, p render.Printer, showStatus bool) *view {
	return &view{intake: i, printer: p, showStatus: showStatus, advice: advice.New()}
}
