// Package exec reports the programs that processes of the cgroups in scope begin, and how these processes end.
package exec

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Options of a Probe.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 4 MiB.
	RingBytes uint32
}

// Sink takes one event and the id of the cgroup the process is in. The event is valid only during the call. Its names are not
// filled in.
type Sink = func(cgroup uint64, ev *event.Event)

// Probe is the loaded maps and programs.
type Probe struct {
	objects   objectObjects
	links     []link.Link
	ring      *bpf.Ring
	clock     *bpf.Clock
	losses    bpf.Losses
	hooks     []string
	watermark atomic.Uint64
	undecoded atomic.Uint64
}

var needs = []bpf.Need{
	{Feature: "BPF ring buffers", MinKernel: "5.8", Has: bpf.HasHelper("ringbuf_output")},
}

// Open loads the probe and attaches it. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	p := &Probe{clock: clock}
	if err := p.load(o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(o Options) error {
	cache := o.Scope.Types()
	kernel, err := bpf.KernelTypes(cache)
	if err != nil {
		return err
	}
	if err := bpf.Check(kernel, needs...); err != nil {
		return err
	}
	spec, err := loadObject()
	if err != nil {
		return fmt.Errorf("read exec: %w", err)
	}
	p.hooks = bpf.Hooks(spec)
	if o.RingBytes != 0 {
		spec.Maps[objectMapEvents].MaxEntries = bpf.RingSize(o.RingBytes)
	}
	if err := spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{
		Cache:           cache,
		MapReplacements: o.Scope.Maps(),
	}); err != nil {
		return fmt.Errorf("load exec: %w", err)
	}
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	if p.ring, err = bpf.OpenRing(p.objects.Events); err != nil {
		return err
	}
	for _, program := range []*ebpf.Program{p.objects.ExecExec, p.objects.ExecExit} {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return fmt.Errorf("attach %s: %w", program, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

// poll is how often the ring buffer is looked at where the kernel does not wake the reader.
const poll = 50 * time.Millisecond

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	dec := newDecoder(p.clock)
	return p.ring.Read(ctx, bpf.Reading{
		Interval: poll,
		Record: func(raw []byte) error {
			cgroup, ev, err := dec.decode(raw)
			if err != nil {
				p.undecoded.Add(1)
				return nil
			}
			if runcStage(ev.GetExec(), dec.flags()) {
				return nil
			}
			// Only a wall clock that was set back makes this happen.
			ev.Time = max(ev.Time, p.watermark.Load())
			sink(cgroup, ev)
			return nil
		},
		Empty: func(since uint64) error {
			p.watermark.Store(max(p.watermark.Load(), p.clock.Wall(since)))
			return p.clock.Keep()
		},
	})
}

// Flush hands all that has happened to the sink of the running Run before it returns.
func (p *Probe) Flush(ctx context.Context) error { return p.ring.Flush(ctx) }

// Lost tells what was dropped since Open.
func (p *Probe) Lost() []bpf.Loss {
	lost, err := p.losses.Lost()
	if err != nil {
		return nil // closed
	}
	if n := p.undecoded.Load(); n > 0 {
		lost = append(lost, bpf.Loss{Stage: event.LossStage_LOSS_STAGE_DECODE, Count: n})
	}
	return lost
}

// Watermark is a time, ns since the Unix epoch: nothing older than it will be reported any more.
func (p *Probe) Watermark() uint64 { return p.watermark.Load() }

// Hooks are what the probe is attached to, as libbpf names sections.
func (p *Probe) Hooks() []string { return p.hooks }

// Programs are what the probe has loaded.
func (p *Probe) Programs() []bpf.Program { return bpf.Programs(&p.objects) }

// Close detaches and unloads everything. A running Run returns.
func (p *Probe) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	if p.ring != nil {
		errs = append(errs, p.ring.Close())
	}
	return errors.Join(append(errs, p.objects.Close())...)
}
