package plugin

import (
	"io"
	"maps"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
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
	of     *subject
	watch  judge
	// prepare is called before the verdicts are given; nil: nothing is left to do.
	prepare func()
	// collect takes the verdicts; nil: they are printed.
	collect func([]*event.Event)
	failed  map[string]string // nodes that were not seen, and why
	// unknown are the times of which nothing is known, by node.
	unknown []string
	// nothing is why there is no verdict at all.
	nothing error
}

func newVerdicts(i intake, c verdictConfig, s *subject, window time.Duration) verdicts {
	return verdicts{intake: i, config: c, of: s, watch: s.judge(window), failed: map[string]string{}}
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
	if v.prepare != nil {
		v.prepare()
	}
	v.end()
	rows := v.watch.Verdicts()
	if v.nothing = v.of.remark(v, rows); v.nothing == nil && v.watch.Full() {
		v.reporter.Logf("note: there is more than verdicts have room for: look at fewer pods")
	}
	if v.collect != nil {
		v.collect(rows)
		return nil
	}
	watch, ok := v.watch.(*pods.Watch)
	if !ok {
		return v.show(rows)
	}
	c, asked := connect(watch, rows), slices.Clone(rows)
	if err := v.show(rows); err != nil || v.config.output != "" {
		return err
	}
	return c.printChains(v.config.out, asked)
}

// show prints verdicts, and as text what was not seen.
func (v *verdicts) show(rows []*event.Event) error {
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
		out = v.of.text(out, ev, v.config.viewed)
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
