package plugin

import (
	"context"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/facts"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

// factsTime bounds the requests for facts about pods.
const factsTime = 15 * time.Second

// runWhyPods watches pods for the window, reads what Kubernetes reports about them, and prints the verdicts. It follows
// those that blame another pod. Pods that do not run are judged at once.
func runWhyPods(parent context.Context, c *whyConfig) error {
	r := newReporter(c.streams.ErrOut)
	seen, err := c.judgePods(parent, r)
	if seen == nil {
		return err
	}
	if err != nil || !c.follow || parent.Err() != nil {
		if failed := seen.show(seen.rows); failed != nil {
			return failed
		}
		return err
	}
	f := newFollower(c, r)
	f.nameNeighbours(parent, seen)
	asked := slices.Clone(seen.rows)
	text := c.output == ""
	if text {
		if err := seen.show(slices.Clone(asked)); err != nil {
			return err
		}
	}
	f.follow(parent, seen)
	return f.print(seen, asked, text)
}

// judged are pods that were watched, and their verdicts.
type judged struct {
	verdicts
	rows []*event.Event
}

// judgePods watches pods for the window, or judges them at once if none of them runs. The result is nil where there is
// no verdict at all; else an error is only how the session ended.
func (c *whyConfig) judgePods(parent context.Context, r *reporter) (*judged, error) {
	all, err := readFacts(parent, c)
	if err != nil {
		return nil, c.withGrant(err)
	}
	if !mayEnd(all) {
		// No container ends, so that nothing ends for a file. Watching system calls costs the node most.
		c.kinds = slices.DeleteFunc(slices.Clone(c.kinds), func(k *event.Kind) bool { return k.Name == "syscall" })
		c.syscalls = nil
	}
	var seen *judged
	take := func(v *verdicts) {
		v.prepare = func() { addFacts(parent, c, v, all) }
		v.collect = func(rows []*event.Event) {
			if len(rows) > 0 {
				seen = &judged{verdicts: *v, rows: rows}
			}
		}
	}
	if len(all) > 0 && !slices.ContainsFunc(all, func(f *pods.Facts) bool { return f.Running }) {
		v := newVerdicts(intake{reporter: r}, c.printing(), c.of, c.window)
		take(&v)
		if err := v.Close(); err != nil {
			return nil, err
		}
		return seen, v.nothing
	}
	err = runWhyLive(parent, c, func(v *whyView) { take(&v.verdicts) })
	return seen, err
}

// mayEnd reports whether containers of the pods end again and again, or may.
func mayEnd(all []*pods.Facts) bool {
	return len(all) == 0 ||
		slices.ContainsFunc(all, func(f *pods.Facts) bool {
			return f.Name != "" && (f.Restarting || !f.Ready || !f.Old)
		})
}

func readFacts(parent context.Context, c *whyConfig) ([]*pods.Facts, error) {
	ctx, cancel := context.WithTimeout(parent, factsTime)
	defer cancel()
	return facts.Read(ctx, c.client, c.query, time.Now())
}

// addFacts tells verdicts what Kubernetes reports about the pods now, or what it said before if that fails. A recording
// keeps that, too.
func addFacts(parent context.Context, c *whyConfig, v *verdicts, before []*pods.Facts) {
	watch, ok := v.watch.(*pods.Watch)
	if !ok {
		return
	}
	r := v.reporter
	now, err := readFacts(parent, c)
	if err != nil {
		r.Logf("note: what Kubernetes reports about the pods is from before the window: %v", err)
		now = before
	}
	unknown := false
	for _, f := range now {
		watch.SetFacts(f)
		v.record(f.Event(time.Now()))
		unknown = unknown || f.EventsUnknown
	}
	if unknown {
		r.LogOncef("note: you may not list events: failing probes are not seen")
	}
	ctx, cancel := context.WithTimeout(parent, factsTime)
	defer cancel()
	err = facts.Endpoints(ctx, c.client, watch.Failing(), func(s pods.Service, e pods.Endpoints) {
		watch.SetEndpoints(s, e)
		v.record(s.Event(time.Now(), e))
	})
	if err != nil {
		r.Logf("note: whether Services have endpoints is not known: %v", err)
	}
}
