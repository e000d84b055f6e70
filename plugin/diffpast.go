package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/diff"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// comparePast prints the differences between two times of the same length, as the installed agents have recorded them.
func (o *diffOptions) comparePast(ctx context.Context) error {
	switch {
	case o.window < minDiffWindow || o.window > maxDiffWindow:
		return usagef("--window %v: want %v to %v", o.window, minDiffWindow, maxDiffWindow)
	case o.before < o.window:
		return usagef("--before %v: want --window (%v) or more: the two times would overlap", o.before, o.window)
	}
	if err := o.pastTargets.check(); err != nil {
		return err
	}
	at, err := o.connect()
	if err != nil {
		return err
	}
	now := time.Now()
	var failed error
	profiles := [2]*diff.Profile{}
	for i, q := range []question{
		{"before", periodOptions{since: (o.before + o.window).String(), until: o.before.String()}},
		{"after", periodOptions{since: o.window.String()}},
	} {
		if profiles[i], err = o.queryPast(ctx, at, q, now); profiles[i] == nil {
			return err
		} else if err != nil {
			failed = err // the exit code; what the agents have answered is compared
		}
	}
	c := diffPrinter{diffOptions: o, reporter: newReporter(o.streams.ErrOut), viewed: at.viewed, before: profiles[0],
		after: profiles[1]}
	if err := c.print(); err != nil {
		return err
	}
	return failed
}

// question is one of the two times, with its name.
type question struct {
	name   string
	period periodOptions
}

// queryPast returns what the agents have recorded of a time. With an error it is what they answered nevertheless; nil
// for nothing.
func (o *diffOptions) queryPast(
	ctx context.Context, at installation, q question, now time.Time,
) (*diff.Profile, error) {
	r := &orbit.QueryRequest{Protocol: orbit.Protocol, Selection: o.selection(at.viewed)}
	if err := q.period.complete(r, now); err != nil {
		return nil, err
	}
	for _, kind := range deploy.Kinds() {
		if slices.Contains(diff.Kinds, kind) {
			r.Selection.Kinds = append(r.Selection.Kinds, kind)
		}
	}
	r.Interval = int64(diff.PartOf(o.window))
	past := &pastConfig{streams: o.streams, client: at.client, rest: at.rest, installNamespace: o.installNamespace,
		request: r, failOnLoss: o.failOnLoss, command: "--before", name: q.name}
	var v *profileAnswer
	err := past.run(ctx, func(r *reporter) (live.Consumer, error) {
		v = &profileAnswer{reporter: r, kinds: past.request.GetSelection().GetKinds()}
		return v, nil
	})
	var exit *exitError
	if v == nil || v.profile == nil || err != nil && (!errors.As(err, &exit) || exit.code == ExitInterrupted) {
		return nil, err
	}
	return v.profile, err
}

// profileAnswer adds the events of an answer to a profile.
type profileAnswer struct {
	profileView
	reporter *reporter
	kinds    []string
}

var _ remote.Covered = (*profileAnswer)(nil)

// Cover takes when the answer begins and ends, and what the agents record.
func (v *profileAnswer) Cover(c *orbit.Coverage) error {
	if err := checkRecorded(c, v.kinds); err != nil {
		return err
	}
	if v.profile == nil {
		p := diff.Period{Start: coverageStart(c), End: time.Unix(0, int64(min(c.GetUntil(), 1<<62)))}
		if !p.Start.Before(p.End) {
			return fmt.Errorf("the history begins at %s: nothing is known of the time before %s",
				p.Start.UTC().Format(time.RFC3339), p.End.UTC().Format(time.RFC3339))
		}
		v.profile = diff.NewProfile(recordedKinds(c, v.kinds), p)
		return nil
	}
	for _, line := range unknownTimes(c) {
		v.reporter.LogOncef("%s", line)
	}
	return nil
}

// recordedKinds returns the kinds that some node records and the user may see.
func recordedKinds(c *orbit.Coverage, kinds []string) (recorded []string) {
	for _, kind := range kinds {
		if slices.Contains(c.GetForbiddenKinds(), kind) {
			continue
		}
		for _, n := range c.GetNodes() {
			if slices.Contains(n.GetKinds(), kind) {
				recorded = append(recorded, kind)
				break
			}
		}
	}
	return recorded
}
