package tracer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// observation is the kernel side of a session: the scope and the probes.
type observation struct {
	*nodeRuntime
	cgroupRoot string
	scope      Scope
	sources    []source
	warnings   []string

	// endScope ends the reader of the scope's notifications. reading waits for it.
	endScope context.CancelFunc
	reading  sync.WaitGroup
	// failed receives the error of a source or of the scope's reader that ends early.
	failed chan error
}

type source struct {
	kind string
	Source
}

// scopeName is the source name of the scope's losses.
const scopeName = "scope"

// prepare opens the scope and scans the existing cgroups. The caller closes the observation even after an error.
func (n *nodeRuntime) prepare(ctx context.Context) (o *observation, err error) {
	o = &observation{nodeRuntime: n, endScope: func() {}, failed: make(chan error, 1+len(n.kernel.Kinds()))}
	if o.cgroupRoot, err = n.kernel.CgroupRoot(); err != nil {
		return o, err
	}
	n.resolver.SetOutermost(bpf.IsHierarchyRoot(o.cgroupRoot))
	if o.scope, err = n.kernel.OpenScope(o.cgroupRoot); err != nil {
		return o, fmt.Errorf("observe cgroups: %w", err)
	}
	o.follow(ctx)
	o.warning(n.resolver.Attach(o.scope))
	// The reader of notifications runs already, so cgroups created during the scan are not missed.
	return o, n.resolver.Scan(ctx, o.cgroupRoot, time.Now())
}

// attach opens the sources. When it returns, the existing cgroups of all known pods are in scope.
func (o *observation) attach(ctx context.Context, config *session.Config) error {
	if err := o.awaitPods(ctx); err != nil {
		return err
	}
	for _, kind := range sortedKinds(config) {
		if err := o.open(ctx, kind, config); err != nil {
			return err
		}
	}
	return nil
}

// sortedKinds are the kinds of a configuration, each once.
func sortedKinds(config *session.Config) []string {
	return slices.Compact(slices.Sorted(slices.Values(config.GetKinds())))
}

// open opens the source of a kind.
func (o *observation) open(ctx context.Context, kind string, config *session.Config) error {
	s, err := o.kernel.OpenSource(ctx, kind, SourceOptions{
		Scope: o.scope, CgroupRoot: o.cgroupRoot, Config: config, Node: o.name, IsTarget: o.resolver.IsTarget,
		Containers: func() []pods.Container { return o.resolver.Containers(o.cgroupRoot) },
	})
	if err != nil {
		return fmt.Errorf("trace %s: %w", kind, err)
	}
	o.sources = append(o.sources, source{kind, s})
	return nil
}

func (o *observation) warning(err error) {
	if err != nil {
		o.warnings = append(o.warnings, err.Error())
	}
}

// follow reads the scope's notifications until endScope.
func (o *observation) follow(ctx context.Context) {
	ctx, o.endScope = context.WithCancel(context.WithoutCancel(ctx))
	o.reading.Go(func() {
		err := o.scope.Run(ctx, func(news pods.Cgroup) { o.warn(o.resolver.Observe(news, time.Now())) })
		if ctx.Err() == nil {
			o.failed <- fmt.Errorf("observe cgroups: %w", unexpected(err))
		}
	})
}

func unexpected(err error) error {
	if err == nil {
		return errors.New("ended by itself")
	}
	return err
}

// run streams the events of the sources until there is a reason to end, which it returns. It calls ready after the
// sources have scanned preexisting objects. Unless the client is gone, the last events of the sources are in the outbox
// when it returns.
func (o *observation) run(ctx context.Context, ready func()) error {
	sourcing, endSources := context.WithCancel(context.WithoutCancel(ctx))
	defer endSources()
	var reporting sync.WaitGroup
	for _, s := range o.sources {
		reporting.Go(func() {
			err := s.Run(sourcing, o.naming.sink(s.kind))
			if sourcing.Err() == nil {
				o.failed <- fmt.Errorf("trace %s: %w", s.kind, unexpected(err))
			}
		})
	}
	pumping, endPump := context.WithCancel(context.WithoutCancel(ctx))
	defer endPump()
	var own sync.WaitGroup
	own.Go(func() { o.pump(pumping) })
	own.Go(func() { o.tidy(pumping) })
	own.Go(func() { o.learn(pumping) })
	o.setAddresses()
	own.Go(func() { o.address(pumping) })
	// A preexisting connection that is used right after "started" then has its owner already.
	o.flushSources(ctx, "first")
	ready()

	var reason error
	select {
	case <-ctx.Done():
		reason = context.Cause(ctx)
	case reason = <-o.failed:
	}
	if !errors.Is(reason, errSilent) {
		o.flushSources(context.WithoutCancel(ctx), "last")
	}
	endSources()
	reporting.Wait()
	endPump()
	own.Wait()
	o.naming.sweep(time.Now(), true)
	o.count()
	return reason
}

// flushSources makes the sources report all pending events. which names the sweep in warnings.
func (o *observation) flushSources(ctx context.Context, which string) {
	limited, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	for _, s := range o.sources {
		flush := s.Flush
		if l, ok := s.Source.(finalFlusher); ok && which == "last" {
			flush = l.FlushLast
		}
		if err := flush(limited); err != nil && ctx.Err() == nil {
			o.warn(fmt.Errorf("%s sweep of %s: %w", which, s.kind, err))
		}
	}
}

// pump closes batches: at once when the stream was quiet, else batchInterval after the last one.
func (o *observation) pump(ctx context.Context) {
	wake := time.NewTimer(0)
	defer wake.Stop()
	var flushed, counted time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.opened:
			if left := batchInterval - time.Since(flushed); left > 0 {
				wake.Reset(left)
				continue
			}
		case <-wake.C:
		}
		now := time.Now()
		if now.Sub(counted) >= lossInterval {
			o.count()
			counted = now
		}
		// The watermark comes first: events that the sources report after it are not older.
		watermark := o.watermark()
		waiting := o.naming.sweep(now, false)
		// A little less, because the timers of a node fire together and never early.
		empty := o.hasReader() && now.Sub(flushed) >= watermarkInterval-batchInterval/2
		if o.out.flush(min(watermark, waiting), empty) {
			flushed = now
		}
		next := watermarkInterval
		if waiting != math.MaxUint64 {
			next = batchInterval
		}
		wake.Reset(bpf.Until(next))
	}
}

// watermark returns the oldest watermark of the sources.
func (o *observation) watermark() uint64 {
	oldest := nowNs()
	for _, s := range o.sources {
		oldest = min(oldest, s.Watermark())
	}
	return oldest
}

// count reads the loss counters of the kernel side.
func (o *observation) count() {
	for _, s := range o.sources {
		o.losses.read(s.kind, s.Lost())
	}
	o.losses.read(scopeName, o.scope.Lost())
}

// tidy removes expired pods and cgroups, and rescans the cgroup tree after notifications were lost.
func (o *observation) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyInterval)
	defer tick.Stop()
	missed := sum(o.scope.Lost())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			o.warn(o.resolver.Expire(now))
			if lost := sum(o.scope.Lost()); lost > missed {
				missed = lost
				if err := o.resolver.Scan(ctx, o.cgroupRoot, now); err != nil && ctx.Err() == nil {
					o.warn(err)
				}
			}
		}
	}
}

// addressInterval is the least time between two updates of the pods' addresses.
const addressInterval = 100 * time.Millisecond

// address passes the pods' addresses to the sources that use them, whenever pods change.
func (o *observation) address(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.resolver.Changed():
		}
		o.setAddresses()
		select {
		case <-ctx.Done():
			return
		case <-time.After(addressInterval):
		}
	}
}

func (o *observation) setAddresses() {
	for _, s := range o.sources {
		if a, ok := s.Source.(addressConsumer); ok {
			o.warn(a.SetAddresses(o.resolver.Addresses()))
		}
	}
}

// procRoot is /proc of the host's PID namespace, which the tracer's pod shares.
const procRoot = "/proc"

// learn names containers by their processes while some have no name.
func (o *observation) learn(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.resolver.Unnamed():
		case <-retry.C:
		}
		more, err := o.resolver.Learn(o.cgroupRoot, procRoot, time.Now())
		o.warn(err)
		if more {
			retry.Reset(pods.LearnInterval)
		}
	}
}

func sum(lost []bpf.Loss) (n uint64) {
	for _, l := range lost {
		n += l.Count
	}
	return n
}

// close detaches everything.
func (o *observation) close() {
	for _, s := range o.sources {
		if err := s.Close(); err != nil {
			o.log.Error("detach", "kind", s.kind, "err", err)
		}
	}
	o.endScope()
	o.reading.Wait()
	if o.scope != nil {
		if err := o.scope.Close(); err != nil {
			o.log.Error("detach", "kind", scopeName, "err", err)
		}
	}
}
