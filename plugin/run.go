package plugin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/forward"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
	"github.com/orb8-dev/kubectl-orb8/plugin/stream"
)

const (
	// tracerDeadline ends a tracer's Job that nobody extends any more: each move of it is a write of the API server.
	tracerDeadline = time.Minute
	// fixedDeadline is that of a user who may not extend it.
	fixedDeadline = time.Hour
	// parallelStarts is how many tracers may be starting at a time.
	parallelStarts = 8
	// slowStart is how long a starting tracer may keep others from starting.
	slowStart = 10 * time.Second
	// startPatience is when a --duration begins at the latest, streaming or not.
	startPatience = time.Minute
)

// errDone ends a trace in the orderly way: its duration is over.
var errDone = errors.New("done")

// errReaderGone ends it in the same way, before its time: who read its output wants no more. Nodes that were still starting
// are no failures then.
var errReaderGone = errors.New("reader gone")

// errInterrupted ends it on a signal.
var errInterrupted = errors.New("interrupted")

// errAllFailed ends it because no node is left.
var errAllFailed = errors.New("no node could be traced")

// consumer is where a session's events end.
type consumer interface {
	// show takes one event, which is not kept. An error means that nobody looks any more.
	show(ev *event.Event) error
	// close ends what is shown, after the last event.
	close() error
	// taken is how many events were shown.
	taken() int
}

// session is what a consumer sees of one that runs.
type liveSession struct {
	intake intake
	// running ends where the orderly end begins; end begins it.
	running context.Context
	end     context.CancelCauseFunc
	// settled is closed when the nodes that were known at the start stream or have failed, or take too long.
	settled <-chan struct{}
}

// runTrace shows events as they come.
func runTrace(parent context.Context, c *traceConfig) error {
	return runSession(parent, c, func(s *liveSession) (consumer, error) { return newView(s.intake, c.printer, c.showStatus), nil })
}

// runSession is one session from the first question to the cluster to the last Job deleted.
func runSession(parent context.Context, c *traceConfig, open func(*liveSession) (consumer, error)) error {
	// hard bounds everything; running ends where the orderly end begins, with its cause.
	hard, cut := context.WithCancel(parent)
	defer cut()
	running, end := context.WithCancelCause(hard)
	defer end(errDone)
	stopSignals := watchSignals(end, cut)
	defer stopSignals()
	stopReader := watchReader(c.streams.Out, func() { end(errReaderGone) })
	defer stopReader()

	r := newReporter(c.streams.ErrOut)
	targets, err := c.prepare(running, r)
	if err != nil {
		if context.Cause(running) == errInterrupted {
			return &exitError{ExitInterrupted, nil}
		}
		return err
	}
	defer targets.Close()
	in := intake{reporter: r, filter: c.filter}
	if c.record != "" {
		if in.recorder, err = history.Create(c.record, history.Session{
			Version: version.Version(), Kinds: kindNames(c.kinds), Targets: describeQuery(&c.query), Namespace: c.viewed, Started: time.Now(),
		}); err != nil {
			return err
		}
	}

	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	launcher := launch.New(hard, c.client, c.tracerNamespace, newSessionID())
	defer launcher.Close()
	launcher.Refused = func(line string) { r.line("%s", line) }
	spec := c.spec(launcher.Session(), identity.PublicKey(), c.deadline)
	if err := c.gpu.resolve(running, c.client); err != nil {
		return err
	}
	c.gpu.add(&spec)
	var namer collect.Namer = targets
	if c.reverseDNS {
		resolver := newResolver(running, targets)
		defer resolver.wait()
		namer = resolver
	}
	collector := collect.New(collect.Options{
		Namer: namer, Interval: c.interval, Kinds: kindNames(c.kinds), Started: time.Now(),
		Refused: func(node string, why error) {
			r.line("%s: its tracer sent what no tracer of this version sends (%v): such events are refused and counted as lost", node, why)
		},
	})

	s := &traceSession{
		config: c, reporter: r, targets: targets, end: end, ending: func() bool { return running.Err() != nil }, settled: make(chan struct{}),
		readerGone: func() bool { return context.Cause(running) == errReaderGone },
		options: &stream.Options{
			Launcher: launcher,
			Spec:     spec,
			Ready:    stream.PodLogs(c.client, c.tracerNamespace),
			Dial: func(ctx context.Context, pod string) (net.Conn, error) {
				return forward.Dial(ctx, c.rest, c.tracerNamespace, pod, session.Port)
			},
			Identity: identity, Version: version.Version(), Collector: collector,
			Config: &session.Config{Kinds: kindNames(c.kinds), Interval: int64(c.interval), DnsPorts: c.dnsPorts, Syscall: c.syscalls, Gpu: c.gpu.session()},
		},
	}
	defer context.AfterFunc(running, s.stop)()
	s.options.Say, s.options.Unseen, s.options.Readmit = s.say, s.notSeen, s.readmit

	v, err := open(&liveSession{intake: in, running: running, end: end, settled: s.settled})
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	work.Go(func() {
		s.serveNodes(hard, running)
		collector.Finish()
	})
	work.Go(func() { sweep(running, c, r) })

	began := time.Now()
	// The nodes' orderly end outlives running, and so does the merge: it ends when all nodes have.
	emitErr := collector.Run(hard, v.show)
	if errors.Is(emitErr, render.ErrClosed) {
		end(errReaderGone)
	}
	end(errDone)
	work.Wait()
	closeErr := v.close() // after an error of v.show the same one, which is reported once

	s.reportUntraced()
	tally := s.tally(v.taken(), time.Since(began), collector.Losses())
	r.line("%s", tally)
	return s.verdict(context.Cause(running), cmp.Or(emitErr, closeErr), tally)
}

// prepare asks the cluster, before anything is made in it, what there is to trace and whether the user may.
func (c *traceConfig) prepare(ctx context.Context, r *reporter) (*cluster.Cluster, error) {
	allowed, deadline, dnsPorts := make(chan error, 1), make(chan time.Duration, 1), make(chan foundPorts, 1)
	go func() { allowed <- c.mayTrace(ctx) }()
	go func() { deadline <- c.jobDeadline(ctx) }()
	go func() { dnsPorts <- c.findDNSPorts(ctx) }()
	targets, err := cluster.Open(ctx, c.client, c.query, cluster.Options{Note: func(s string) { r.line("note: %s", s) }})
	// Without this order a user who may nothing would be told about the second thing first.
	if mayErr := <-allowed; mayErr != nil && (err == nil || !errors.As(err, new(*cluster.ForbiddenError)) && !errors.As(err, new(*cluster.NotFoundError))) {
		if err == nil {
			targets.Close()
		}
		return nil, c.withGrant(mayErr)
	}
	if err != nil {
		return nil, c.withGrant(err)
	}
	c.deadline = <-deadline
	c.setDNSPorts(<-dnsPorts, r)
	if _, nodes := targets.Targets(); nodes == 0 {
		untraced := targets.Untraced(ctx)
		if untraced.Final {
			targets.Close()
			return nil, errors.New(strings.Join(untraced.Reasons, "; "))
		}
		for _, reason := range untraced.Reasons {
			r.line("%s", reason)
		}
		r.line("nothing matches %s yet: waiting for pods to appear (^C ends)", describeQuery(&c.query))
	}
	return targets, nil
}

func describeQuery(q *cluster.Query) string {
	var parts []string
	if len(q.Names) > 0 {
		parts = append(parts, strings.Join(q.Names, " "))
	} else {
		parts = append(parts, "pods")
	}
	if q.Selector != nil {
		parts = append(parts, "with labels "+q.Selector.String())
	}
	if q.Container != "" {
		parts = append(parts, "with a container "+strconv.Quote(q.Container))
	}
	if q.AllNamespaces {
		parts = append(parts, "in any namespace")
	} else {
		parts = append(parts, "in namespace "+strconv.Quote(q.Namespace))
	}
	if q.Node != "" {
		parts = append(parts, "on node "+strconv.Quote(q.Node))
	}
	return strings.Join(parts, " ")
}

// watchSignals turns the first signal into an orderly end and the second into a quick one.
func watchSignals(end context.CancelCauseFunc, cut context.CancelFunc) (stop func()) {
	// A closed pipe is an error of Write, not a death: the tracers must go first.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for _, act := range []func(){func() { end(errInterrupted) }, cut} {
			select {
			case <-signals:
				act()
			case <-done:
				return
			}
		}
		<-done
	})
	return func() {
		signal.Stop(signals)
		close(done)
		watch.Wait()
	}
}

// sweep takes away what an earlier session left.
func sweep(ctx context.Context, c *traceConfig, r *reporter) {
	swept, err := launch.Sweep(ctx, c.client, c.tracerNamespace, time.Now())
	if len(swept) > 0 {
		r.line("removed what an earlier session left: %s", strings.Join(swept, ", "))
	}
	if err != nil && ctx.Err() == nil {
		r.line("note: could not look for leftovers of earlier sessions: %v", err)
	}
	removed, err := launch.SweepPods(ctx, c.client, c.tracerNamespace, time.Now())
	for _, line := range removed {
		r.line("%s", line)
	}
	if err != nil && ctx.Err() == nil {
		r.line("note: %v", err)
	}
}

func kindNames(kinds []*event.Kind) []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

// newSessionID is short, for it is part of names, and random, for two users may start at once.
func newSessionID() string {
	var b [8]byte
	rand.Read(b[:])
	return strconv.FormatUint(binary.LittleEndian.Uint64(b[:])>>23, 36) // 41 bits: 8 digits
}

// verdict makes the exit code of how the trace ended.
func (s *traceSession) verdict(cause, outputErr error, tally *advice.Tally) error {
	if outputErr != nil && !errors.Is(outputErr, render.ErrClosed) {
		return fmt.Errorf("write output: %w", outputErr)
	}
	failed, all := s.failures()
	switch {
	case cause == errInterrupted:
		return &exitError{ExitInterrupted, nil}
	case all:
		return &exitError{ExitError, fmt.Errorf("%w: %s", errAllFailed, s.commonFailure())}
	case failed > 0:
		return &exitError{ExitSomeFailed, nil}
	case s.config.failOnLoss && tally.Lost():
		return &exitError{ExitLost, errors.New("events were lost")}
	}
	return nil
}
