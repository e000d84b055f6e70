// Package syscalls reports the system calls of the cgroups in scope: each with its arguments, result and duration, or counted
// by container and call.
package syscalls

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Options of a Probe or a Summary. The zero value of each but Scope means its default.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// Names of the calls wanted, of any architecture; none: all.
	Names []string
	// ErrorsOnly and MinDuration leave away calls that succeed and those that take less. A Summary has neither.
	ErrorsOnly  bool
	MinDuration time.Duration
	// Interval is how often running calls are looked for, and totals told; default 1 s.
	Interval time.Duration
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 8 MiB.
	RingBytes uint32
	// MaxTotals is how many pairs of a cgroup and a call a Summary counts at a time; default 16,384.
	MaxTotals uint32
	// MaxThreads bounds the threads whose system calls are followed, of at most ThreadBytes each, or SummaryThreadBytes
	// each in a Summary; default 32,768. A Probe loses the calls of other threads. A Summary counts them without their
	// durations.
	MaxThreads uint32
}

// ThreadBytes and SummaryThreadBytes are what the kernel keeps for a thread that is followed: 192 bytes for the first
// probe that follows it, and an element.
const (
	ThreadBytes        = 192 + 1024
	SummaryThreadBytes = 192 + 96
)

// Sink takes an event and the id of the cgroup it was made in. The event is valid only during the call: it is used
// again.
type Sink func(cgroup uint64, ev *event.Event)

// Probe is the loaded maps and programs of single calls.
type Probe struct {
	objects   probeObjects
	links     []link.Link
	walk      *link.Iter
	walking   sync.Mutex
	ring      *bpf.Ring
	clock     *bpf.Clock
	table     *table
	losses    bpf.Losses
	hooks     []string
	unfollow  func()
	interval  time.Duration
	watermark atomic.Uint64
	undecoded atomic.Uint64
}

// probeObjects are those of the object file that single calls take.
type probeObjects struct {
	CallEnter *ebpf.Program `ebpf:"call_enter"`
	CallExit  *ebpf.Program `ebpf:"call_exit"`
	CallWalk  *ebpf.Program `ebpf:"call_walk"`
	CallGone  *ebpf.Program `ebpf:"call_gone"`

	Calls        *ebpf.Map `ebpf:"calls"`
	Events       *ebpf.Map `ebpf:"events"`
	Losses       *ebpf.Map `ebpf:"losses"`
	CgroupLosses *ebpf.Map `ebpf:"cgroup_losses"`
	Shares       *ebpf.Map `ebpf:"shares"`

	Generation *ebpf.Variable `ebpf:"scope_generation"`
	WalkNs     *ebpf.Variable `ebpf:"walk_ns"`
	WalkAll    *ebpf.Variable `ebpf:"walk_all"`
	ShareUsed  *ebpf.Variable `ebpf:"share_used"`
}

func (o *probeObjects) Close() error {
	return errors.Join(o.CallEnter.Close(), o.CallExit.Close(), o.CallWalk.Close(), o.CallGone.Close(), o.Calls.Close(),
		o.Events.Close(), o.Losses.Close(), o.CgroupLosses.Close(), o.Shares.Close())
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
	p := &Probe{clock: clock, interval: o.Interval}
	if p.interval <= 0 {
		p.interval = time.Second
	}
	if err := p.load(o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(o Options) (err error) {
	if p.table, err = newTable(o.Names); err != nil {
		return err
	}
	spec, options, err := read(o)
	if err != nil {
		return err
	}
	if o.RingBytes != 0 {
		spec.Maps[objectMapEvents].MaxEntries = bpf.RingSize(o.RingBytes)
	}
	for name, v := range map[string]any{objectVarErrorsOnly: o.ErrorsOnly, objectVarMinNs: uint64(max(o.MinDuration, 0))} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&p.objects, options); err != nil {
		return fmt.Errorf("load syscalls: %w", err)
	}
	p.unfollow = follow(o.Scope, p.objects.Generation)
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	if p.ring, err = bpf.OpenRing(p.objects.Events); err != nil {
		return err
	}
	if err := p.table.fill(p.objects.Calls); err != nil {
		return err
	}
	p.links, p.hooks, err = attach(p.links, spec, p.objects.CallGone, p.objects.CallExit, p.objects.CallEnter)
	if err != nil {
		return err
	}
	if p.walk, err = link.AttachIter(link.IterOptions{Program: p.objects.CallWalk}); err != nil {
		return fmt.Errorf("attach %s: %w", p.objects.CallWalk, err)
	}
	p.links = append(p.links, p.walk)
	p.hooks = append([]string{"iter/task"}, p.hooks...)
	return nil
}

// read gives the programs and how to load them, where the kernel can.
func read(o Options) (*ebpf.CollectionSpec, *ebpf.CollectionOptions, error) {
	cache := o.Scope.Types()
	kernel, err := bpf.KernelTypes(cache)
	if err != nil {
		return nil, nil, err
	}
	if err := bpf.Check(kernel, needs...); err != nil {
		return nil, nil, err
	}
	load := loadObject
	if bpf.Older(kernel) {
		load = loadOlder
	}
	spec, err := load()
	if err != nil {
		return nil, nil, fmt.Errorf("read syscalls: %w", err)
	}
	threads := bpf.ShareOf(cmp.Or(o.MaxThreads, 1<<15))
	if err := bpf.SetShares(spec, threads); err != nil {
		return nil, nil, fmt.Errorf("load syscalls: %w", err)
	}
	if bpf.Older(kernel) {
		spec.Maps[objectMapEntries].MaxEntries, spec.Maps[objectMapStarts].MaxEntries = threads.Size, threads.Size
	}
	return spec, &ebpf.CollectionOptions{Cache: cache, MapReplacements: o.Scope.Maps()}, nil
}

// attach attaches the program of the exits before that of the entries: an entry is never seen without its exit. Before
// both it attaches the program that removes what is kept for a thread.
func attach(
	links []link.Link, spec *ebpf.CollectionSpec, gone, exit, enter *ebpf.Program,
) ([]link.Link, []string, error) {
	var hooks []string
	for _, name := range []string{objectProgCallGone, objectProgCallEnter, objectProgCallExit} {
		hooks = append(hooks, spec.Programs[name].SectionName)
	}
	for _, program := range []*ebpf.Program{gone, exit, enter} {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return links, nil, fmt.Errorf("attach %s: %w", program, err)
		}
		links = append(links, l)
	}
	return links, hooks, nil
}

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
	if p.unfollow != nil {
		p.unfollow()
	}
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	if p.ring != nil {
		errs = append(errs, p.ring.Close())
	}
	return errors.Join(append(errs, p.objects.Close())...)
}
