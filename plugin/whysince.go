package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// whySince judges the events of the past as one window.
type whySince struct{ verdicts }

// runWhySince prints the verdicts about a time in the past.
func runWhySince(parent context.Context, c *whyConfig) error {
	var v *whySince
	err := c.question.run(parent, func(r *reporter) (live.Consumer, error) {
		all, err := filter.Compile("", nil)
		if err != nil {
			return nil, err
		}
		v = &whySince{newVerdicts(intake{reporter: r, filter: all}, c.printing(), c.of, 0)}
		return v, nil
	})
	if v == nil {
		return err
	}
	return v.conclude(err)
}

// Cover takes what the agents know of the time. It fails if they do not record what verdicts need.
func (v *whySince) Cover(c *orbit.Coverage) error {
	if err := checkRecorded(c, v.of.needs); err != nil {
		return err
	}
	clear(v.failed)
	observed := slices.DeleteFunc(slices.Clone(v.of.sources), func(kind string) bool {
		return slices.Contains(c.GetForbiddenKinds(), kind)
	})
	for _, n := range c.GetNodes() {
		switch {
		case n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK:
			observed = slices.DeleteFunc(
				observed,
				func(kind string) bool { return !slices.Contains(n.GetKinds(), kind) },
			)
		case n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_UNKNOWN:
			v.failed[n.GetNode()] = n.GetMessage()
		}
		if len(n.GetGaps()) > 0 {
			v.watch.Doubt(n.GetNode())
		}
	}
	v.watch.Observe(observed...)
	v.unknown = unknownTimes(c)
	return nil
}

// Show leaves out the states of nodes: what is known of them is in the coverage.
func (v *whySince) Show(ev *event.Event) error {
	if ev.GetNodeStatus() != nil {
		return nil
	}
	return v.verdicts.Show(ev)
}

// Close prints the verdicts, or returns why there are none. What is not known is no evidence that nothing happened.
func (v *whySince) Close() error {
	err := v.verdicts.Close()
	var gaps []string
	for _, node := range slices.Sorted(maps.Keys(v.failed)) {
		gaps = append(gaps, node+": "+v.failed[node])
	}
	gaps = append(gaps, v.unknown...)
	switch {
	case len(gaps) == 0:
	case v.nothing != nil:
		v.nothing = fmt.Errorf("it cannot be known: %s; of the rest: %w", listed(gaps, "; "), v.nothing)
	case v.config.output != "":
		for _, line := range v.unknown {
			v.reporter.Logf("%s", strings.TrimSpace(line))
		}
	}
	return err
}
