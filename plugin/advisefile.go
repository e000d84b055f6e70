package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// completeFile resolves the options of --from.
func (o *adviseOptions) completeFile(c *adviseConfig, changed func(flag string) bool) (err error) {
	for _, flag := range append([]string{"since", "until", "mode"}, liveFlags...) {
		if changed(flag) {
			return usagef("--%s does not go with --from: the events are those of the recording", flag)
		}
	}
	if o.selector != "" {
		return usagef("--selector does not go with --from: recordings hold no labels; name the workloads: deploy/web")
	}
	if err := checkNames(o.names, o.allNamespaces); err != nil {
		return err
	}
	namespace := ""
	if changed("namespace") {
		namespace = o.kube.flagNamespace()
	}
	if c.selected, err = parseAdviseTargets(o.names, namespace, o.container, o.node); err != nil {
		return err
	}
	c.traceConfig = &traceConfig{streams: o.streams, failOnLoss: o.failOnLoss, viewed: namespace}
	kinds, _, err := o.syscalls.complete(o.of.kinds)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		c.kinds = append(c.kinds, event.KindByName(kind))
	}
	// The cluster, if there is one, says more about the pods than the recording.
	if c.rest, _, c.offline = resolveCluster(o.kube); c.offline != nil {
		return nil
	}
	c.rest.QPS, c.rest.Burst = 100, 200
	clients, err := kube.NewForConfig(c.rest)
	if err != nil {
		return err
	}
	c.client = clients
	return nil
}

// observeFile gives the events of a recording to a view.
func (c *adviseConfig) observeFile(parent context.Context, v *adviseView) (*observation, error) {
	ctx, end := context.WithCancelCause(parent)
	defer end(live.ErrDone)
	defer watchInterrupts(parent, func() { end(live.ErrInterrupted) })()
	in := c.streams.In
	if c.from != "-" {
		f, err := os.Open(c.from)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		defer f.Close()
		in = f
	}
	reader, err := history.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", c.from, err)
	}
	defer reader.Close()
	r := newReporter(c.streams.ErrOut)
	reader.Damaged = func(e *history.DamageError) { r.Logf("%s: %v: what it holds is passed over", c.from, e) }
	s := &reader.Session
	if err := c.needed(c.from, s.Kinds); err != nil {
		return nil, err
	}
	readErr := c.readFile(ctx, reader, v)
	if errors.Is(context.Cause(ctx), live.ErrInterrupted) {
		return nil, &exitError{ExitInterrupted, nil}
	}
	seen := &observation{source: c.from, targets: s.Targets, started: timeOf(v.oldest), ended: timeOf(v.newest)}
	for _, kind := range c.wanted() {
		if slices.Contains(s.Kinds, kind) {
			seen.kinds = append(seen.kinds, kind)
		}
	}
	n, reason := reader.Refused()
	v.noteRefused(n)
	if n > 0 {
		r.Logf("%s: %s refused (first: %v)", c.from, plural.Count(n, "event"), reason)
	}
	tally := &advice.Tally{Events: v.events, Traced: len(v.nodes), Nodes: len(v.nodes), Took: seen.length(),
		Losses: v.lost.All(), Gaps: v.gaps.until(v.newest)}
	r.Logf("%s, recorded from %s on: %s", s.Targets, s.Started.Format(time.RFC3339), tally)
	seen.incomplete = gapsOf(tally, v.failed)
	switch {
	case readErr == io.ErrUnexpectedEOF:
		seen.incomplete = append(seen.incomplete, c.from+" has no end: its recorder was killed, or its disk was full")
	case readErr != nil:
		seen.incomplete = append(seen.incomplete, fmt.Sprintf("%s: %v: what comes after it is not known", c.from,
			readErr))
	}
	if c.failOnLoss && tally.Lost() {
		return seen, &exitError{ExitLost, errLost}
	}
	return seen, nil
}

// readFile shows all events of a reader. Its end is no error.
func (c *adviseConfig) readFile(ctx context.Context, reader *history.Reader, v *adviseView) error {
	wanted := c.wanted()
	for ctx.Err() == nil {
		ev, err := reader.NextReusing()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if k := event.KindOf(ev); k != nil && !isOwnKind(ev) && !slices.Contains(wanted, k.Name) {
			continue
		}
		if err := v.Show(ev); err != nil {
			return err
		}
	}
	return nil
}

// isOwnKind reports whether an event is about the observation itself.
func isOwnKind(ev *event.Event) bool { return ev.GetNodeStatus() != nil || ev.GetLost() != nil }
