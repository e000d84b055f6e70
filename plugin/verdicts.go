package plugin

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
)

// verdictConfig is how verdicts are printed.
type verdictConfig struct {
	out    io.Writer
	output string // empty: text
	open   func() (render.Printer, error)
	// viewed is the namespace that is omitted.
	viewed string
	rows   *filter.Filter
	// targets describes the traced pods; named: the user has named them.
	targets string
	named   bool
}

// verdicts collects the evidence and prints the verdicts at the end.
type verdicts struct {
	intake
	config verdictConfig
	watch  *why.Watch
	failed map[string]string // nodes that were not seen, and why
	// unknown are the times of which nothing is known, by node.
	unknown []string
	// nothing is why there is no verdict at all.
	nothing error
}

func newVerdicts(i intake, c verdictConfig, w *why.Watch) verdicts {
	return verdicts{intake: i, config: c, watch: w, failed: map[string]string{}}
}

func (v *verdicts) Show(ev *event.Event) error {
	if s := ev.GetNodeStatus(); s != nil {
		if s.GetState() == event.NodeState_NODE_STATE_FAILED {
			v.failed[ev.GetNode()] = s.GetMessage()
		} else {
			delete(v.failed, ev.GetNode())
		}
	}
	v.watch.Add(ev)
	v.take(ev)
	return nil
}

// Close prints the verdicts, or returns why there are none.
func (v *verdicts) Close() error {
	v.end()
	rows := v.watch.Verdicts()
	v.notes(rows)
	rows = slices.DeleteFunc(rows, func(ev *event.Event) bool {
		match, err := v.config.rows.Match(ev)
		if err != nil {
			v.reporter.LogOncef("filter: %v: such verdicts are not shown", err)
		}
		return !match
	})
	if v.config.output != "" {
		return v.print(rows)
	}
	var out []byte
	for i, ev := range rows {
		if i > 0 {
			out = append(out, '\n')
		}
		out = why.AppendText(out, ev, v.config.viewed)
	}
	for _, node := range slices.Sorted(maps.Keys(v.failed)) {
		out = append(safe.AppendText(out, "not seen: "+node+": "+v.failed[node]), '\n')
	}
	for _, line := range v.unknown {
		out = append(safe.AppendText(out, line), '\n')
	}
	_, err := userTerminal().Writer(v.config.out).Write(out)
	return err
}

func (v *verdicts) print(rows []*event.Event) error {
	p, err := v.config.open()
	if err != nil {
		return err
	}
	for _, ev := range rows {
		if err := p.Print(ev); err != nil {
			return err
		}
	}
	return p.Close()
}

// notes reports the pods without a verdict. If there is no verdict at all, the command fails instead.
func (v *verdicts) notes(rows []*event.Event) {
	without := v.watch.Without()
	if len(rows) == 0 {
		v.nothing = v.none(without)
		return
	}
	for _, name := range without {
		if v.config.named {
			v.reporter.Logf("note: %s has no GPU: no process of it is on one", name)
		}
	}
	for _, n := range v.watch.Nodes() {
		if n.Trouble != "" {
			v.reporter.Logf("note: nothing to read of the GPUs of %s: %s", n.Name, n.Trouble)
		}
	}
	if v.watch.Full() {
		v.reporter.Logf("note: there is more than verdicts have room for: look at fewer pods")
	}
}

// maxListed is how many nodes or pods an error names.
const maxListed = 10

// none returns why there is no verdict at all.
func (v *verdicts) none(without []string) error {
	var nodes, blind []string
	devices := 0
	for _, n := range v.watch.Nodes() {
		devices += n.Devices
		nodes = append(nodes, n.Name)
		if n.Trouble != "" {
			blind = append(blind, n.Name+": "+n.Trouble)
		} else if n.Devices == 0 {
			blind = append(blind, n.Name+": no GPU was seen")
		}
	}
	switch {
	case len(nodes) == 0:
		return fmt.Errorf("no pod was seen that matches %s", v.config.targets)
	case devices == 0:
		return fmt.Errorf("no GPU on the examined nodes: %s", listed(blind, "; "))
	case len(without) > 0:
		return fmt.Errorf("no GPU of these pods: no process of theirs is on one, and none was seen to be allocated "+
			"to them: %s (%d %s on %s)",
			listed(without, ", "), devices, plural.Noun(devices, "GPU"), listed(nodes, ", "))
	}
	return fmt.Errorf("no pod with a GPU matches %s: %d %s on %s", v.config.targets, devices,
		plural.Noun(devices, "GPU"),
		listed(nodes, ", "))
}

// conclude returns the error of a command: why there is no verdict, unless there is another error.
func (v *verdicts) conclude(err error) error {
	switch {
	case v.nothing == nil:
	case err == nil:
		return v.nothing
	default: // how the session ended decides the exit code
		v.reporter.Logf("%v", v.nothing)
	}
	return err
}

// listed joins the first of a list.
func listed(list []string, separator string) string {
	if len(list) > maxListed {
		return strings.Join(list[:maxListed], separator) + fmt.Sprintf(" and %d more", len(list)-maxListed)
	}
	return strings.Join(list, separator)
}
