package plugin

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/record"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// view is where events end, those of a trace as those of a recording: what the filter lets through is recorded and shown, and what there is to say about
// all of them is said at the end.
type view struct {
	reporter   *reporter
	filter     *filter.Filter
	printer    render.Printer
	recorder   *record.Writer // nil: nothing is recorded
	showStatus bool

	path  *searchPath
	short *shortages
	// events are those that were shown, but for those that tell of the session itself.
	events int
}

// show takes one event. An error means that nobody reads what is printed.
func (v *view) show(ev *event.Event) error {
	v.path.add(ev)
	v.short.add(ev)
	match, err := v.filter.Match(ev)
	if err != nil {
		v.reporter.once("filter: %v: such events are not shown", err)
	}
	if !match {
		return nil
	}
	if v.recorder != nil {
		if err := v.recorder.Write(ev); err != nil {
			v.reporter.once("recording: %v: it ends here", err)
		}
	}
	switch {
	case ev.GetNodeStatus() != nil:
		if !v.showStatus {
			return nil
		}
	case ev.GetLost() == nil:
		v.events++
	}
	return v.printer.Print(ev)
}

// close prints what was kept for the end, and says what all of it comes to.
func (v *view) close() error {
	err := v.printer.Close()
	if v.recorder != nil {
		if err := v.recorder.Close(); err != nil {
			v.reporter.once("recording: %v: it ends here", err)
		}
		events, bytes := v.recorder.Written()
		v.reporter.line("recorded %d %s, %s", events, plural(int(events), "event"), event.AppendBytes(nil, uint64(bytes)))
	}
	if waste := v.path.summary(); waste != "" {
		v.reporter.line("%s", waste)
	}
	for _, s := range v.short.summary() {
		v.reporter.line("%s", s)
	}
	return err
}

func newView(r *reporter, f *filter.Filter, p render.Printer, showStatus bool) *view {
	return &view{reporter: r, filter: f, printer: p, showStatus: showStatus, path: newSearchPath(), short: newShortages()}
}
