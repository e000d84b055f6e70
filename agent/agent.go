package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/tools/cache"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/health"
	"github.com/orb8-dev/kubectl-orb8/internal/refusals"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

// Options configure an agent.
type Options struct {
	// Node is the name of the node in the cluster.
	Node string
	// Version is the version of this build, Release the kernel's (uname -r), BootID that of
	// /proc/sys/kernel/random/boot_id.
	Version, Release, BootID string
	// Instance is random and not 0.
	Instance uint64
	// ConfigFile is the path of the configuration; without the file the default is in force.
	ConfigFile string
	// StateDir keeps what the next process on this node starts with; empty: nothing is kept.
	StateDir string
	// HistoryMemory limits the history in bytes. HistoryDir, if not empty, keeps it on disk, within HistoryDirBytes.
	HistoryMemory, HistoryDirBytes int64
	HistoryDir                     string
	// Pods lists and watches the pods of the node.
	Pods   cache.ListerWatcher
	Kernel tracer.Kernel
	// Listener serves gRPC with TLS; Health serves HTTP. Both are closed when Run returns.
	Listener, Health net.Listener
	TLS              *tls.Config
	// Metrics are served to Prometheus.
	Metrics MetricsOptions
	// Certified is closed when the agent has a certificate.
	Certified <-chan struct{}
	Log       *slog.Logger
}

const (
	// configInterval is the time between two readings of the configuration file.
	configInterval = 5 * time.Second
	// firstPause and maxPause limit the time between two attempts to observe.
	firstPause, maxPause = time.Second, time.Minute
	// stableAfter is how long an observation must last for the next pause to be the first again.
	stableAfter = time.Minute
	// maxStreams limits the streams of a server's connection. Each viewer has one.
	maxStreams = 1024
)

// errReconfigured ends an observation whose configuration has changed.
var errReconfigured = errors.New("the configuration has changed")

type agent struct {
	Options
	feed    *feed
	history *history.Rolling
	export  *export.Exporter
	table   *metrics.Table
	pods    *knownPods
	seen    *seen
	started time.Time
	// refused counts the strangers at the port.
	refused *refusals.Log
	// observing: the probes are attached.
	observing atomic.Bool
	// observer is the present one; nil: there is none.
	observer atomic.Pointer[tracer.Observer]
	// loaded is when the present observer began to load its programs, ns since the Unix epoch.
	loaded atomic.Uint64

	mu          sync.Mutex
	kinds       []string
	configError string
	warnings    []string
	// probeCost: the cost of probes is to be counted; counting is what makes the kernel do so, nil: nothing.
	probeCost bool
	counting  counter
}

// Run observes the node and serves its events until ctx ends, and returns nil then.
func Run(ctx context.Context, o Options) error {
	// They are closed by who serves on them, or here; either way the second error says nothing.
	defer func() {
		_, _ = o.Listener.Close(), o.Health.Close()
		if o.Metrics.Listener != nil {
			_ = o.Metrics.Listener.Close()
		}
	}()
	rolling, err := history.OpenRolling(history.RollingOptions{MemoryBytes: o.HistoryMemory, Dir: o.HistoryDir,
		DirBytes: o.HistoryDirBytes, Node: o.Node, Log: o.Log})
	if err != nil {
		return fmt.Errorf("open the history: %w", err)
	}
	kept := rolling.Status()
	times := newSeen(kept.Oldest, kept.Newest)
	if o.StateDir != "" && o.HistoryDir != "" {
		times = openSeen(o.StateDir, o.Log, kept.Oldest, kept.Newest)
	}
	a := &agent{Options: o, history: rolling, seen: times,
		pods: openPods(o.StateDir, o.Log), refused: refusals.New(o.Log), started: time.Now()}
	a.table = metrics.NewTable(metrics.Options{})
	scrapes, registry, err := a.newRegistry()
	if err != nil {
		return err
	}
	a.export = export.New(export.Options{Node: o.Node, Version: o.Version, Metrics: registry, Log: o.Log})
	a.feed = newFeed(o.Node, nowNs, func(events [][]byte) {
		rolling.Append(events)
		a.export.Observe(events)
		a.table.Observe(events)
	})
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	failed := make(chan error, 3)
	work.Go(func() { failed <- a.serve(serving) })
	work.Go(func() { failed <- health.Serve(serving, a.Health, a.unready) })
	if scrapes != nil {
		work.Go(func() { failed <- scrapes.Serve(serving, a.Metrics.Listener, registry) })
	}
	work.Go(func() { a.observe(serving) })
	work.Go(func() { a.pods.run(serving) })
	exports, finish := context.WithCancel(context.WithoutCancel(ctx))
	defer finish()
	var exporting sync.WaitGroup
	exporting.Go(func() { a.export.Run(exports) })
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	work.Wait()
	a.stopCounting()
	finish() // when all events have been emitted
	exporting.Wait()
	return errors.Join(err, rolling.Close())
}

func nowNs() uint64 { return uint64(time.Now().UnixNano()) }

// serve serves gRPC until ctx ends.
func (a *agent) serve(ctx context.Context) error {
	g := grpc.NewServer(
		grpc.Creds(orbit.ServerCredentials(a.TLS, func(client net.Addr, err error) {
			a.refused.Add(client.String(), err)
		})),
		grpc.ForceServerCodecV2(orbit.NewCodec()),
		grpc.MaxRecvMsgSize(1<<20),
		grpc.MaxSendMsgSize(orbit.MaxMessageBytes),
		grpc.MaxHeaderListSize(16<<10),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(session.FirstContactTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	orbit.RegisterAgentServer(g, &service{feed: a.feed, history: a.history, seen: a.seen, hello: a.hello,
		status: a.status})
	return orbit.Serve(ctx, g, a.Listener)
}

// unready is what keeps the agent from being ready; empty: nothing.
func (a *agent) unready() string {
	select {
	case <-a.Certified:
	default:
		return "no certificate yet: is a server of orb8 running?"
	}
	if !a.observing.Load() {
		return "the probes are not attached"
	}
	return ""
}

// observe observes the node with the configuration in force, until ctx ends.
func (a *agent) observe(ctx context.Context) {
	config := a.readConfig(nil)
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		next, err := a.observeOnce(ctx, config)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errReconfigured):
			a.emitStatus(event.NodeState_NODE_STATE_RECONNECTING, "the agent's configuration has changed")
			config = next
			continue
		}
		if time.Since(began) > stableAfter {
			pause = firstPause
		}
		a.warn(fmt.Sprintf("observing has ended: %v: next attempt in %v", err, pause))
		a.emitStatus(event.NodeState_NODE_STATE_FAILED, err.Error())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
		config = a.readConfig(config)
	}
}

// observeOnce observes until something fails, or the configuration changes, which is returned then.
func (a *agent) observeOnce(ctx context.Context, config *Config) (next *Config, err error) {
	ctx, end := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer end(nil)
	o := tracer.NewObserver(tracer.ObserverConfig{Node: a.Node, Version: a.Version, Kernel: a.Kernel, Log: a.Log,
		Emit: a.feed.emit})
	a.loaded.Store(nowNs())
	a.observer.Store(o)
	defer a.observer.Store(nil)
	work.Go(func() { a.feedPods(ctx, config, o, end) })
	work.Go(func() {
		if changed := a.awaitConfig(ctx, config); changed != nil {
			next = changed
			end(errReconfigured)
		}
	})
	err = o.Run(ctx, config.session(), func(kinds, warnings []string) {
		a.Log.Info("observing", "kinds", kinds)
		for _, w := range warnings {
			a.warn(w)
		}
		a.setKinds(kinds)
		a.seen.begin(nowNs())
		a.observing.Store(true)
		a.emitStatus(event.NodeState_NODE_STATE_STREAMING, "")
	})
	if a.observing.Swap(false) {
		a.seen.end(cmp.Or(a.feed.watermark(), nowNs()))
	}
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	end(nil)
	work.Wait()
	return next, err
}

// awaitConfig waits for another configuration than the present one; nil when ctx ends.
func (a *agent) awaitConfig(ctx context.Context, present *Config) *Config {
	tick := time.NewTicker(configInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if read := a.readConfig(present); !read.equal(present) {
			return read
		}
	}
}

// recordable returns the kinds that agents may record.
func recordable(kinds []string) []string {
	return slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
		k := event.KindByName(kind)
		return k != nil && k.Payload
	})
}

// readConfig reads the configuration file. If it is wrong, the present configuration stays, or without one the default.
func (a *agent) readConfig(present *Config) *Config {
	read, err := readConfig(a.ConfigFile, recordable(a.Kernel.Kinds()))
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.configError = ""
		a.export.Apply(read.Export)
		a.applyMetrics(read.Metrics)
		return read
	}
	if message := err.Error(); message != a.configError {
		a.configError = message
		a.Log.Error("the configuration is wrong, and the one before stays in force", "file", a.ConfigFile, "err", err)
	}
	if present == nil {
		present = defaultConfig()
	}
	return present
}

// maxWarnings is the number of the newest warnings that are kept.
const maxWarnings = 16

func (a *agent) warn(message string) {
	a.Log.Warn(message)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings = appendWarning(a.warnings, message)
}

func appendWarning(warnings []string, message string) []string {
	if warnings = append(warnings, message); len(warnings) > maxWarnings {
		warnings = warnings[1:]
	}
	return warnings
}

func (a *agent) setKinds(kinds []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kinds = kinds
}

// emitStatus emits a state of the node.
func (a *agent) emitStatus(state event.NodeState, message string) {
	now := nowNs()
	ev, err := proto.Marshal(&event.Event{Time: now, Node: a.Node, Kind: &event.Event_NodeStatus{
		NodeStatus: &event.NodeStatus{State: state, Message: message}}})
	if err != nil {
		a.Log.Error("node status not sent", "err", err)
		return
	}
	a.feed.emit(tracer.Batch{Events: [][]byte{ev}, Reports: 1})
}
