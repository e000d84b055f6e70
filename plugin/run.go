package plugin

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/forward"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
	"github.com/orb8-dev/kubectl-orb8/plugin/stream"
)

// runTrace shows events as they come.
func runTrace(parent context.Context, c *traceConfig) error {
	return runSession(parent, c, func(_ engine, in intake) live.Consumer {
		return newView(in, c.printer, c.showStatus)
	})
}

// engine is a session: of tracers that it starts, or of installed agents.
type engine interface {
	// End begins the orderly end. Interrupt does, too, and cuts it short when it is called again.
	End(reason error)
	Interrupt()
	// Running ends where the orderly end begins.
	Running() context.Context
	// Settled is closed when the nodes that were known at the start stream, have failed or take too long.
	Settled() <-chan struct{}
	// Run runs the session. The tally is nil if nothing was to be traced.
	Run(open func() (live.Consumer, error)) (*advice.Tally, error)
}

// runSession runs one session, whose consumer open makes, and maps its end to an exit code.
func runSession(parent context.Context, c *traceConfig, open func(engine, intake) live.Consumer) error {
	r := newReporter(c.streams.ErrOut)
	defer noteVersion(parent, c.client, r.Logf)()
	s := c.engine(parent, r)
	return c.runEngine(parent, r, s, c.streams.Out, func() (live.Consumer, error) {
		in := intake{reporter: r, filter: c.filter}
		if c.record != "" {
			var err error
			if in.recorder, err = history.Create(c.record, history.Session{
				Version: version.Version(), Kinds: append(kindNames(c.kinds), c.alsoRecorded...),
				Targets: c.query.String(), Namespace: c.viewed, Started: time.Now(),
			}); err != nil {
				return nil, err
			}
		}
		return open(s, in), nil
	})
}

// runEngine runs a session whose consumer writes to out, and maps its end to an exit code.
func (c *traceConfig) runEngine(
	parent context.Context, r *reporter, s engine, out io.Writer, open func() (live.Consumer, error),
) error {
	defer watchInterrupts(parent, s.Interrupt)()
	stopReader := watchReader(out, func() { s.End(live.ErrReaderGone) })
	defer stopReader()
	tally, err := s.Run(open)
	if c.tally = tally; tally != nil {
		r.Logf("%s", tally)
	}
	return c.exit(tally, err)
}

// exit maps the end of a session to an exit code.
func (c *traceConfig) exit(tally *advice.Tally, err error) error {
	switch {
	case errors.Is(err, live.ErrInterrupted):
		return &exitError{ExitInterrupted, nil}
	case errors.Is(err, live.ErrSomeFailed):
		return &exitError{ExitSomeFailed, nil}
	case err == nil && c.failOnLoss && tally.Lost():
		return &exitError{ExitLost, errLost}
	}
	if c.mode == modeCluster {
		return remote.Explain(err)
	}
	return c.withGrant(err)
}

// errLost ends a command with --fail-on-loss.
var errLost = errors.New("events were lost")

// session is the configuration of the engine.
func (c *traceConfig) session() live.Config {
	return live.Config{
		Query: c.query, Spec: c.spec(), MaxNodes: c.maxNodes, Duration: c.duration, ReverseDNS: c.reverseDNS,
		Tracer: &session.Config{
			Kinds: kindNames(c.kinds), Interval: int64(c.interval), DnsPorts: c.dnsPorts, Syscall: c.syscalls,
			Gpu: c.gpu, Capture: c.capture,
		},
	}
}

// dependencies are what the engine works with in a real cluster.
func (c *traceConfig) dependencies(r *reporter) live.Dependencies {
	return live.Dependencies{
		Client: c.client,
		Open: func(ctx context.Context, note func(string)) (live.View, error) {
			targets, err := cluster.Open(ctx, c.client, c.query, cluster.Options{Note: note})
			if err != nil {
				return nil, err
			}
			return targets, nil
		},
		Launch: func(ctx context.Context, id string, view live.View) live.Launcher {
			l := launch.New(ctx, c.client, c.tracerNamespace, id)
			l.Refused, l.Known = func(line string) { r.Logf("%s", line) }, view.Node
			return l
		},
		Dialer: forward.NewDialer(c.rest, c.tracerNamespace, session.Port),
		Stream: stream.Run,
		Status: r,
	}
}

func kindNames(kinds []*event.Kind) []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}
