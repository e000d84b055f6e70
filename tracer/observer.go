package tracer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Batch is what an Observer passes on at once.
type Batch struct {
	// Events are encoded messages event.Event with the names of their pods. They are valid only during the call.
	Events [][]byte
	// Reports is the number of Events that report losses, or the state of the node, and Lost what they report as lost.
	Reports int
	Lost    uint64
	// Watermark: later batches hold no older event, ns since the Unix epoch.
	Watermark uint64
}

// ObserverConfig configures an Observer. All fields are required.
type ObserverConfig struct {
	// Node is the name of the node in the cluster, Version that of this build.
	Node, Version string
	Kernel        Kernel
	// Emit takes the batches, one at a time, also without events. It must not block.
	Emit func(Batch)
	Log  *slog.Logger
}

// Observer observes pods of a node without a client, once.
type Observer struct {
	*nodeRuntime
	known *once // the pods are

	mu       sync.Mutex
	programs []Program // that are loaded
}

// Program is a BPF program of a probe.
type Program struct {
	// Kind is the kind of events that it is for.
	Kind string
	bpf.Program
}

// Cost is what a program has cost so far.
type Cost struct {
	Program
	Ran  time.Duration
	Runs uint64
}

// Costs returns what each loaded program has cost so far.
func (o *Observer) Costs() (all []Cost) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.programs {
		ran, runs := p.Cost()
		all = append(all, Cost{p, ran, runs})
	}
	return all
}

// setPrograms replaces the programs. It returns when nobody uses the ones before.
func (o *Observer) setPrograms(programs []Program) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.programs = programs
}

// programs are those of the sources that have some.
func (o *observation) programs() (all []Program) {
	for _, s := range o.sources {
		if loaded, ok := s.Source.(interface{ Programs() []bpf.Program }); ok {
			for _, p := range loaded.Programs() {
				all = append(all, Program{s.kind, p})
			}
		}
	}
	return all
}

// NewObserver returns an Observer, which Run starts.
func NewObserver(config ObserverConfig) *Observer {
	o := &Observer{known: newOnce(),
		nodeRuntime: newNodeRuntime(config.Node, config.Version, config.Kernel, config.Log)}
	o.setOutput(&emitter{node: config.Node, losses: o.losses, now: nowNs, emit: config.Emit})
	o.populated, o.hasReader = o.known.done, func() bool { return true }
	return o
}

// Apply applies an update of the node's pods, of which the first is complete. It returns only errors about exceeded
// limits.
func (o *Observer) Apply(update *session.PodUpdate) error {
	defer o.known.happen()
	return o.applyPods(update)
}

// Run observes until ctx ends, and returns nil then. It calls ready once all probes are attached, with the kinds that
// are observed and what could not be done. A kind that the kernel does not support is left out. When Run returns, the
// kernel holds nothing of it.
func (o *Observer) Run(ctx context.Context, config *session.Config, ready func(kinds, warnings []string)) error {
	if err := checkConfig(config); err != nil {
		return err
	}
	if err := o.checkKinds(config.GetKinds()); err != nil {
		return err
	}
	observed, err := o.prepare(ctx)
	defer observed.close()
	defer o.setPrograms(nil)
	if err == nil {
		err = observed.attachSupported(ctx, config)
	}
	if err == nil {
		err = observed.run(ctx, func() {
			o.setPrograms(observed.programs())
			ready(observed.kinds(), observed.warnings)
		})
	}
	o.out.flush(nowNs(), true)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// attachSupported is attach without the kinds that cannot be attached, which become warnings. It fails where none can.
func (o *observation) attachSupported(ctx context.Context, config *session.Config) error {
	if err := o.awaitPods(ctx); err != nil {
		return err
	}
	var errs []error
	for _, kind := range sortedKinds(config) {
		if err := o.open(ctx, kind, config); err != nil {
			errs = append(errs, err)
			o.warning(err)
		}
	}
	if len(o.sources) == 0 {
		return fmt.Errorf("no probe can be attached: %w", errors.Join(errs...))
	}
	return nil
}

// kinds are those that are observed.
func (o *observation) kinds() (kinds []string) {
	for _, s := range o.sources {
		kinds = append(kinds, s.kind)
	}
	return kinds
}

// emitter is an output that passes batches on.
type emitter struct {
	node   string
	losses *ledger
	now    func() uint64
	emit   func(Batch)

	mu        sync.Mutex
	buffer    []byte
	ends      []int // of each event in buffer
	events    [][]byte
	reports   int
	lost      uint64
	watermark uint64
}

func (e *emitter) add(_ uint64, ev, names []byte) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ends) == session.MaxBatchEvents || len(e.buffer)+len(ev)+len(names) > maxBatchBytes && len(e.ends) > 0 {
		e.pass()
	}
	e.append(ev, names)
	return len(e.ends) == 1
}

// append appends an event. The caller holds mu.
func (e *emitter) append(ev, names []byte) {
	e.buffer = append(append(e.buffer, ev...), names...)
	e.ends = append(e.ends, len(e.buffer))
}

func (e *emitter) flush(watermark uint64, empty bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.losses.take() {
		// Encoding fails only for strings that are not UTF-8. These are constants or were decoded from protobuf.
		if ev, err := encodeLost(e.node, e.now(), d); err == nil {
			e.append(ev, nil)
			e.reports++
			e.lost += d.count
		}
	}
	if len(e.ends) == 0 && !empty {
		return false
	}
	e.watermark = max(e.watermark, watermark)
	e.pass()
	return true
}

// pass emits the batch. The caller holds mu.
func (e *emitter) pass() {
	e.events = e.events[:0]
	begin := 0
	for _, end := range e.ends {
		e.events = append(e.events, e.buffer[begin:end:end])
		begin = end
	}
	e.emit(Batch{Events: e.events, Reports: e.reports, Lost: e.lost, Watermark: e.watermark})
	e.buffer, e.ends, e.reports, e.lost = e.buffer[:0], e.ends[:0], 0, 0
}
