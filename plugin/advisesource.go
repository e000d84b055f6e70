package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// observation is what an advice stands on, besides the events.
type observation struct {
	// source is where the events are from, targets which pods they are of, in words.
	source, targets string
	// kinds were observed.
	kinds []string
	// started and ended are the time of the observation. Of a recording they are those of its first and last event.
	started, ended time.Time
	// events is how many there were, without states of nodes and losses.
	events int
	// incomplete lists why what was observed is not all that happened: losses, gaps, nodes that were not observed.
	incomplete []string
}

// length is how long was observed.
func (o *observation) length() time.Duration { return o.ended.Sub(o.started) }

// observe gives the events of the source to an adviser, and returns what they are. An error besides an observation is
// how the session ended, for the exit code: there is still advice to give.
func (c *adviseConfig) observe(parent context.Context, add adviser) (*observation, error) {
	v := &adviseView{add: add, player: newPlayer(nil), failed: map[string]string{}}
	v.selects = func(ev *event.Event) bool { return c.from == "" || c.selected.matches(ev) }
	var seen *observation
	var err error
	switch {
	case c.from != "":
		seen, err = c.observeFile(parent, v)
	case c.past != nil:
		seen, err = c.observePast(parent, v)
	default:
		seen, err = c.observeLive(parent, v)
	}
	if seen == nil {
		return nil, err
	}
	var exit *exitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	seen.events = v.events
	if v.events == 0 {
		if exit != nil && exit.code != ExitInterrupted {
			return nil, err
		}
		return nil, c.nothingSeen(seen, v)
	}
	c.noteMissing(seen)
	return seen, err
}

// nothingSeen returns why there is no advice.
func (c *adviseConfig) nothingSeen(seen *observation, v *adviseView) error {
	kinds := strings.Join(c.of.kinds, ", ")
	if c.from != "" && len(c.selected.names)+len(c.selected.namespace)+len(c.selected.node)+
		len(c.selected.container) > 0 {
		return fmt.Errorf("%s: %s holds no events (%s) of %s: it is a recording of %s%s", c.of.command, c.from, kinds,
			c.selected, seen.targets, v.otherWorkloads())
	}
	for _, why := range seen.incomplete {
		return fmt.Errorf("%s: nothing was seen (%s) of %s in %v: %s", c.of.command, kinds, seen.targets,
			seen.length().Round(time.Second), why)
	}
	return fmt.Errorf("%s: nothing was seen (%s) of %s in %v: observe for longer, or while the pods are in use",
		c.of.command, kinds, seen.targets, seen.length().Round(time.Second))
}

// noteMissing reports the kinds that were not observed and that the advice does without.
func (c *adviseConfig) noteMissing(seen *observation) {
	var missing []string
	for _, k := range c.wanted() {
		if !slices.Contains(seen.kinds, k) && !c.of.isNeeded(k) {
			missing = append(missing, k)
		}
	}
	if len(missing) > 0 {
		seen.incomplete = append(seen.incomplete, fmt.Sprintf("%s holds no %s events", seen.source,
			listed(missing, ", ")))
	}
}

// wanted are the kinds of the advice, as they were resolved.
func (c *adviseConfig) wanted() []string { return kindNames(c.kinds) }

// needed returns an error if a kind that the advice cannot do without was not observed.
func (c *adviseConfig) needed(source string, observed []string) error {
	for _, k := range c.of.needs {
		alternatives := strings.Split(k, "|")
		if !slices.ContainsFunc(alternatives, func(k string) bool { return slices.Contains(observed, k) }) {
			err := fmt.Errorf("%s needs %s events: %s holds %s", c.of.command, strings.Join(alternatives, " or "),
				source, strings.Join(observed, ", "))
			if c.of.record != "" && c.from != "" {
				err = fmt.Errorf("%w; record them: kubectl orb8 %s --record FILE", err, c.of.record)
			}
			return err
		}
	}
	return nil
}

// isNeeded reports whether a kind is one of needs, or one of the alternatives there.
func (s *adviseSource) isNeeded(kind string) bool {
	return slices.ContainsFunc(s.needs, func(k string) bool { return slices.Contains(strings.Split(k, "|"), kind) })
}

// adviseView gives the events of any source to an adviser.
type adviseView struct {
	intake
	add     adviser
	selects func(*event.Event) bool
	*player
	events int
	// failed are the nodes that were not observed, and why.
	failed map[string]string
	// others are workloads of a recording that were not selected.
	others map[string]bool
	// first and last are the times of the events of the targets, ns since the Unix epoch.
	first, last uint64
	// streaming is when the first node of a session streamed, closed when its last event had come.
	streaming, closed time.Time
}

var _ live.Consumer = (*adviseView)(nil)

// Show takes one event.
func (v *adviseView) Show(ev *event.Event) error {
	v.player.note(ev)
	if v.intake.filter != nil {
		v.intake.take(ev)
	}
	if s := ev.GetNodeStatus(); s != nil {
		if s.GetState() == event.NodeState_NODE_STATE_STREAMING && v.streaming.IsZero() {
			v.streaming = time.Now()
		}
		if s.GetState() == event.NodeState_NODE_STATE_FAILED {
			v.failed[ev.GetNode()] = s.GetMessage()
		} else {
			delete(v.failed, ev.GetNode())
		}
		return nil
	}
	if ev.GetLost() != nil {
		return nil
	}
	if !v.selects(ev) {
		v.noteOther(ev)
		return nil
	}
	v.events++
	if t := ev.GetTime(); t != 0 {
		if v.first == 0 {
			v.first = t
		}
		v.last = max(v.last, t)
	}
	v.add(ev)
	return nil
}

// Close ends the recording of a session.
func (v *adviseView) Close() error {
	v.intake.end()
	v.closed = time.Now()
	return nil
}

// Shown is the number of events.
func (v *adviseView) Shown() int { return v.events }

// maxOtherWorkloads bounds the workloads that an error names.
const maxOtherWorkloads = 1000

func (v *adviseView) noteOther(ev *event.Event) {
	name := ev.GetWorkload()
	if name == "" {
		name = ev.GetPod()
	}
	if name == "" || len(v.others) >= maxOtherWorkloads {
		return
	}
	if v.others == nil {
		v.others = map[string]bool{}
	}
	v.others[name+" in "+ev.GetNamespace()] = true
}

func (v *adviseView) otherWorkloads() string {
	if len(v.others) == 0 {
		return ""
	}
	return ", and holds events of " + listed(slices.Sorted(maps.Keys(v.others)), ", ")
}

// gapsOf lists why an observation is incomplete, from a tally and the nodes that failed.
func gapsOf(t *advice.Tally, failed map[string]string) (gaps []string) {
	for _, node := range slices.Sorted(maps.Keys(failed)) {
		gaps = append(gaps, fmt.Sprintf("node %s was not observed: %s", node, failed[node]))
	}
	if t == nil {
		return gaps
	}
	if t.Lost() {
		_, lost, _ := strings.Cut(t.String(), "LOST ")
		gaps = append(gaps, "events were lost: "+lost)
	}
	if t.Traced < t.Nodes && len(failed) == 0 {
		gaps = append(gaps, fmt.Sprintf("%d of %s were observed", t.Traced, plural.Count(t.Nodes, "node")))
	}
	return gaps
}

// timeOf is a time of an event.
func timeOf(ns uint64) time.Time { return time.Unix(0, int64(min(ns, 1<<62))) }
