package bpf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Sink takes one event and the id of the cgroup that it concerns. The event is valid only during the call: the probe
// overwrites it. The names of node and pod are not filled in.
type Sink = func(cgroup uint64, ev *event.Event)

// Probe owns what all probes repeat: the loaded maps and programs, their links, the ring buffer, the losses and the
// watermark. A probe embeds it, and adds its programs, its decoder and what it attaches to. The zero value is ready for
// Load. After an error of any method, call Close.
type Probe struct {
	// Clock converts the times of records. Load sets it.
	Clock *Clock
	// Losses are what the programs could not keep. Load sets it.
	Losses Losses
	// Undecoded counts the records that the decoder refused.
	Undecoded atomic.Uint64
	// Links hold the programs at their hooks, in the order in which they were attached.
	Links []link.Link

	// Ring is the ring buffer, nil for probes without. Load sets it.
	Ring *Ring

	objects   any
	hooks     hooks
	closers   []func() error
	watermark atomic.Uint64
	scans     scans
}

// Load loads a spec into objects, a pointer to a struct of maps and programs as bpf2go writes them. shared replaces the
// maps of these names.
func (p *Probe) Load(s *Spec, objects any, shared map[string]*ebpf.Map) (err error) {
	if p.Clock, err = NewClock(); err != nil {
		return err
	}
	options := &ebpf.CollectionOptions{Cache: s.types, MapReplacements: shared}
	if err := s.LoadAndAssign(objects, options); err != nil {
		return fmt.Errorf("load %s: %w", s.name, err)
	}
	p.objects, p.hooks, p.Losses = objects, newHooks(s, objects), NewLosses(objects)
	eachField(objects, func(_ string, m *ebpf.Map) {
		if m.Type() == ebpf.RingBuf {
			p.Ring, err = OpenRing(m)
		}
	})
	return err
}

// Attach attaches programs to the kernel's tracepoints, in this order.
func (p *Probe) Attach(programs ...*ebpf.Program) error {
	for _, program := range programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err := p.keep(program, l, err); err != nil {
			return err
		}
	}
	return nil
}

// AttachCgroup attaches programs to the cgroup at root, each to the hook of its section, in this order.
func (p *Probe) AttachCgroup(root string, programs ...*ebpf.Program) error {
	for _, program := range programs {
		hook := p.hooks.of[program].AttachType
		l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: hook, Program: program})
		if err := p.keep(program, l, err); err != nil {
			return err
		}
	}
	return nil
}

// AttachIterator attaches an iterator; over is the map that it iterates over, nil for those that iterate over no map.
// User space runs programs of other types, which need no link.
func (p *Probe) AttachIterator(program *ebpf.Program, over *ebpf.Map) (*Iterator, error) {
	it := &Iterator{program: program}
	if program.Type() != ebpf.Tracing {
		return it, nil
	}
	var err error
	it.iter, err = link.AttachIter(link.IterOptions{Program: program, Map: over})
	return it, p.keep(program, it.iter, err)
}

func (p *Probe) keep(program *ebpf.Program, l link.Link, err error) error {
	if err != nil {
		return fmt.Errorf("attach %s: %w", program, err)
	}
	p.Links = append(p.Links, l)
	p.hooks.add(program)
	return nil
}

// OnClose has Close call f, before it detaches the programs.
func (p *Probe) OnClose(f func() error) { p.closers = append(p.closers, f) }

// pollInterval is how often the ring buffer is read although the kernel does not wake the reader.
const pollInterval = 50 * time.Millisecond

// Read reads the ring buffer until ctx ends. An error of Record counts the record in Undecoded. Interval and Empty have
// defaults: pollInterval and Advance.
func (p *Probe) Read(ctx context.Context, how Reading) error {
	how.Undecoded = &p.Undecoded
	if how.Interval == 0 {
		how.Interval = pollInterval
	}
	if how.Empty == nil {
		how.Empty = p.Advance
	}
	return p.Ring.Read(ctx, how)
}

// Emit hands an event to a sink. Its time is never before the watermark, even where the wall clock was set back.
func (p *Probe) Emit(sink Sink, cgroup uint64, ev *event.Event) {
	ev.Time = max(ev.Time, p.watermark.Load())
	sink(cgroup, ev)
}

// Advance sets the watermark to a time of CLOCK_MONOTONIC, ns, before which no event is left. It keeps the clock set.
func (p *Probe) Advance(monotonic uint64) error {
	p.watermark.Store(max(p.watermark.Load(), p.Clock.Wall(monotonic)))
	return p.Clock.Keep()
}

// Flush returns when the sink of the running Read has had all that is in the ring buffer.
func (p *Probe) Flush(ctx context.Context) error { return p.Ring.Flush(ctx) }

// Scan calls read, which reports with the time now, ns since the Unix epoch, what the programs have counted. Meanwhile
// Watermark is now. It keeps the clock set.
func (p *Probe) Scan(read func(now uint64) error) error {
	now := p.scans.begin(p.Clock)
	defer p.scans.end()
	return errors.Join(read(now), p.Clock.Keep())
}

// Watermark is a time, ns since the Unix epoch. No later event is older.
func (p *Probe) Watermark() uint64 {
	if p.Ring == nil {
		return p.scans.watermark(p.Clock)
	}
	return p.watermark.Load()
}

// Lost returns the losses since Load, nothing once the probe is closed.
func (p *Probe) Lost() []Loss {
	lost, err := p.Losses.Lost()
	if err != nil {
		return nil
	}
	if n := p.Undecoded.Load(); n > 0 {
		lost = append(lost, Loss{Stage: event.LossStage_LOSS_STAGE_DECODE, Count: n})
	}
	return lost
}

// Hooks are what programs are attached to, as libbpf names sections, sorted.
func (p *Probe) Hooks() []string { return p.hooks.attached }

// Programs are the loaded programs.
func (p *Probe) Programs() []Program { return Programs(p.objects) }

// Close detaches and unloads everything. A running Read returns an error.
func (p *Probe) Close() error {
	var errs []error
	for _, f := range p.closers {
		errs = append(errs, f())
	}
	for _, l := range p.Links {
		errs = append(errs, l.Close())
	}
	if p.Ring != nil {
		errs = append(errs, p.Ring.Close())
	}
	if p.objects != nil {
		eachField(p.objects, func(_ string, program *ebpf.Program) { errs = append(errs, program.Close()) })
		eachField(p.objects, func(_ string, m *ebpf.Map) { errs = append(errs, m.Close()) })
	}
	return errors.Join(errs...)
}

// scans tracks the scans of a probe without a ring buffer.
type scans struct {
	mu sync.Mutex
	// running is when the running scan began, last the latest watermark, both ns since the Unix epoch; 0: none.
	running, last uint64
}

func (s *scans) begin(clock *Clock) uint64 {
	now := s.watermark(clock)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = now
	return now
}

func (s *scans) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = 0
}

func (s *scans) watermark(clock *Clock) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != 0 {
		return s.running
	}
	s.last = max(s.last, clock.Wall(Monotonic()))
	return s.last
}
