// Package live runs a session: it starts a tracer on each node with targets, merges what the tracers send, and removes
// them again. It knows no flags and no exit codes.
//
//	prepare (rights, targets, ports) ─► open the consumer ─► start nodes, merge ─► stop nodes ─► close the consumer
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/stream"
)

// Reasons to end a session, for Session.End. Run returns those that are not a success.
var (
	// ErrDone ends a session that has shown all requested events or tables.
	ErrDone = errors.New("done")
	// ErrReaderGone ends a session whose output the reader has closed. Nodes that still start have not failed then.
	ErrReaderGone = errors.New("reader gone")
	// ErrInterrupted ends a session that the user interrupts.
	ErrInterrupted = errors.New("interrupted")
	// ErrAllFailed ends a session without any node left.
	ErrAllFailed = errors.New("no node could be traced")
	// ErrSomeFailed ends a session in which some nodes failed and others were traced to the end.
	ErrSomeFailed = errors.New("some nodes were not traced")
)

// Config selects what a session traces. All defaults and names are resolved.
type Config struct {
	Query cluster.Query
	// Spec is the Job of each tracer. The session adds its id, its key and the deadline; each node adds its name.
	Spec launch.Spec
	// Tracer is the configuration of the tracers. The session adds the ports of DNS Services.
	Tracer *session.Config
	// MaxNodes is how many nodes have a tracer at a time.
	MaxNodes int
	// Duration counts from the first node that streams; 0: until the session is ended.
	Duration time.Duration
	// ReverseDNS resolves addresses that the cluster does not name with the user's resolver.
	ReverseDNS bool
}

// View is what the cluster knows of the targets; *cluster.Cluster is one.
type View interface {
	collect.Namer
	Targets() (pods, nodes int)
	Untraced(ctx context.Context) cluster.Untraced
	NextNode(ctx context.Context) (string, error)
	// Node is launch.Launcher.Known.
	Node(ctx context.Context, name string) *corev1.Node
	NewFeed(node string) *targets.Feed
	Close()
}

// Launcher starts and ends tracers; *launch.Launcher is one.
type Launcher interface {
	stream.Launcher
	Close()
}

// Dialer connects to the tracer in a pod; *forward.Dialer is one.
type Dialer interface {
	Dial(ctx context.Context, pod string) (net.Conn, error)
	// Ahead begins a connection: stream.Options.
	Ahead(pod string)
	Close()
}

// Status takes lines for the user, from any goroutine.
type Status interface {
	Logf(format string, args ...any)
	// LogOncef drops a line that it has taken before.
	LogOncef(format string, args ...any)
}

// Consumer takes the events of a session.
type Consumer interface {
	// Show processes one event and does not keep it. io.ErrClosedPipe reports that the reader has closed the output.
	Show(ev *event.Event) error
	// Close ends the output, after the last event. It repeats an error of Show.
	Close() error
	// Shown is how many events were shown.
	Shown() int
}

// Dependencies are what a session works with.
type Dependencies struct {
	Client kube.Interface
	// Open watches the targets.
	Open func(ctx context.Context, note func(string)) (View, error)
	// Launch returns the launcher of the session with an ID.
	Launch func(ctx context.Context, id string, view View) Launcher
	// Dialer connects to tracers. The session closes it.
	Dialer Dialer
	// Stream runs one node; stream.Run does.
	Stream func(ctx, running context.Context, node string, feed stream.Feed, o *stream.Options) error
	Status Status
}

// Session is one session, of one Run.
type Session struct {
	config Config
	deps   Dependencies

	// hard bounds everything. running ends where the orderly end begins, with its reason.
	hard, running context.Context
	cut           context.CancelFunc
	end           context.CancelCauseFunc
	interrupts    atomic.Int32

	nodes *nodes
}

// New makes a session, which ends with ctx at the latest.
func New(ctx context.Context, config Config, deps Dependencies) *Session {
	s := &Session{config: config, deps: deps}
	s.hard, s.cut = context.WithCancel(ctx)
	s.running, s.end = context.WithCancelCause(s.hard)
	s.nodes = newNodes(s)
	return s
}

// End begins the orderly end: the last events are fetched and the tracers removed.
func (s *Session) End(reason error) { s.end(reason) }

// Interrupt begins the orderly end, and cuts it short when it is called again.
func (s *Session) Interrupt() {
	s.End(ErrInterrupted)
	if s.interrupts.Add(1) > 1 {
		s.cut()
	}
}

// Running ends where the orderly end begins.
func (s *Session) Running() context.Context { return s.running }

// Settled is closed when the nodes that were known at the start stream or have failed, or take too long.
func (s *Session) Settled() <-chan struct{} { return s.nodes.settled }

// Run runs the session from the first question to the cluster to the last Job deleted. It calls open once the cluster
// has answered, before it creates anything. The tally is nil if no tracer was to be started.
func (s *Session) Run(open func() (Consumer, error)) (*advice.Tally, error) {
	defer s.deps.Dialer.Close()
	defer s.cut()
	view, err := s.prepare()
	if err != nil {
		if errors.Is(context.Cause(s.running), ErrInterrupted) {
			return nil, ErrInterrupted
		}
		return nil, err
	}
	defer view.Close()
	identity, err := session.NewIdentity()
	if err != nil {
		return nil, err
	}
	id := launch.NewSessionID()
	launcher := s.deps.Launch(s.hard, id, view)
	defer launcher.Close()
	spec := s.config.Spec
	spec.Session, spec.ClientKey, spec.Config = id, identity.PublicKey(), s.config.Tracer

	var namer collect.Namer = view
	if s.config.ReverseDNS {
		resolver := newResolver(s.running, view)
		defer resolver.wait()
		namer = resolver
	}
	collector := s.newCollector(namer)
	s.nodes.options = &stream.Options{
		Launcher: launcher, Spec: spec, Ready: stream.PodLogs(s.deps.Client, spec.Namespace), Dial: s.deps.Dialer.Dial,
		Ahead: s.deps.Dialer.Ahead, Identity: identity, Version: version.Version(), Collector: collector,
		Config:   s.config.Tracer,
		OnStatus: s.nodes.onStatus, OnGap: s.nodes.onGap, OnDrained: s.nodes.onDrained,
		Readmit: s.nodes.readmit,
	}
	consumer, err := open()
	if err != nil {
		return nil, err
	}
	return s.stream(view, collector, consumer)
}

func (s *Session) newCollector(namer collect.Namer) *collect.Collector {
	return collect.New(collect.Options{
		Namer: namer, Interval: time.Duration(s.config.Tracer.GetInterval()), Kinds: s.config.Tracer.GetKinds(),
		Started: time.Now(), SkipStarting: true,
		Refused: func(node string, why error) {
			s.deps.Status.Logf("%s: its tracer sent what no tracer of this version sends (%v): "+
				"such events are refused and counted as lost", node, why)
		},
	})
}

// stream shows what the nodes send until the session ends.
func (s *Session) stream(view View, collector *collect.Collector, consumer Consumer) (*advice.Tally, error) {
	defer context.AfterFunc(s.running, s.nodes.stop)()
	var work sync.WaitGroup
	work.Go(func() { s.nodes.serve(s.hard, s.running, view, collector.Finish) })
	work.Go(s.sweep)

	began := time.Now()
	// The nodes' orderly end outlives running, and so does the merge: it ends with the last events of all nodes. What
	// the consumer makes of them need not wait until the tracers are deleted.
	showErr := collector.Run(s.hard, consumer.Show)
	if errors.Is(showErr, io.ErrClosedPipe) {
		s.End(ErrReaderGone)
	}
	s.End(ErrDone)
	closeErr := consumer.Close()
	took := time.Since(began)
	work.Wait()

	s.nodes.logWaiting()
	tally := s.nodes.tally(consumer.Shown(), took, collector.Losses())
	return tally, s.nodes.verdict(context.Cause(s.running), cmp.Or(showErr, closeErr))
}

// verdict returns the error of the session; nil: none.
func (n *nodes) verdict(cause, outputErr error) error {
	if outputErr != nil && !errors.Is(outputErr, io.ErrClosedPipe) {
		return fmt.Errorf("write output: %w", outputErr)
	}
	failed, all := n.failures()
	switch {
	case errors.Is(cause, ErrInterrupted):
		return ErrInterrupted
	case all:
		return fmt.Errorf("%w: %s", ErrAllFailed, n.commonFailure())
	case failed > 0:
		return ErrSomeFailed
	}
	return nil
}
