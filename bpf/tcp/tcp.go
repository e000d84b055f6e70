// Package tcp reports what becomes of the TCP connections of the cgroups in scope: made or not and why, ended how and by whom,
// and what had to be sent again meanwhile.
package tcp

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

// Options of a Probe.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// Interval in which retransmits of one connection are one event; default 1 s.
	Interval time.Duration
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 4 MiB.
	RingBytes uint32
	// MaxSockets bounds the sockets that are followed, of at most SocketBytes each; default 131,072.
	MaxSockets uint32
}

// SocketBytes is what the kernel keeps for a socket that is followed: 192 bytes for the first probe that follows it, and 256.
const SocketBytes = 192 + 256

// Sink takes one event and the id of the cgroup that the socket is of. The event is valid only during the call. Its names are
// not filled in.
type Sink = func(cgroup uint64, ev *event.Event)

// Probe is the loaded maps and programs.
type Probe struct {
	options Options
	objects objectObjects
	links   []link.Link
	ring    *bpf.Ring
	clock   *bpf.Clock
	losses  bpf.Losses
	hooks   []string
	// older finds the sockets older than the trace, again reports what was sent again.
	older, again *bpf.Walk
	plain        bool // built with NO_MAP_ITERATORS
	// walking is held while an iterator runs.
	walking sync.Mutex
	// told is what retransmissions was when last looked at.
	told uint64

	watermark atomic.Uint64
	undecoded atomic.Uint64
	doubts    atomic.Int64
}

var needs = []bpf.Need{
	{Feature: "BPF ring buffers", MinKernel: "5.8", Has: bpf.HasHelper("ringbuf_reserve")},
}

// Open loads the probe and attaches it. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	p := &Probe{options: o, clock: clock}
	if err := p.load(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.attach(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load() error {
	cache := p.options.Scope.Types()
	kernel, err := bpf.KernelTypes(cache)
	if err != nil {
		return err
	}
	if err := bpf.Check(kernel, needs...); err != nil {
		return err
	}
	load := loadObject
	switch {
	case bpf.Older(kernel):
		load = loadOlder
	case bpf.MapIteratorsRefused():
		load, p.plain = loadPlain, true
	}
	spec, err := load()
	if err != nil {
		return fmt.Errorf("read tcp: %w", err)
	}
	p.hooks = bpf.Hooks(spec)
	if n := p.options.RingBytes; n != 0 {
		spec.Maps[objectMapEvents].MaxEntries = bpf.RingSize(n)
	}
	sockets := bpf.ShareOf(cmp.Or(p.options.MaxSockets, 1<<17))
	if err := bpf.SetShares(spec, sockets); err != nil {
		return fmt.Errorf("load tcp: %w", err)
	}
	if bpf.Older(kernel) {
		spec.Maps[objectMapTcpConns].MaxEntries = sockets.Size
	}
	if err := spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{
		Cache:           cache,
		MapReplacements: p.options.Scope.Maps(),
	}); err != nil {
		return fmt.Errorf("load tcp: %w", err)
	}
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	p.ring, err = bpf.OpenRing(p.objects.Events)
	return err
}

func (p *Probe) attach() error {
	o := &p.objects
	for _, program := range []*ebpf.Program{o.TcpGone, o.TcpResetSent, o.TcpResetCame, o.TcpAgain, o.TcpReader, o.TcpState} {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err := p.keep(program, l, err); err != nil {
			return err
		}
	}
	var err error
	if p.older, err = bpf.OpenWalk(o.TcpOlder, nil); err != nil {
		return err
	}
	over := o.TcpConns
	if p.plain { // connections are found by their files
		over = nil
	}
	p.again, err = bpf.OpenWalk(o.TcpWalk, over)
	return err
}

func (p *Probe) keep(program *ebpf.Program, l link.Link, err error) error {
	if err != nil {
		return fmt.Errorf("attach %s: %w", program, err)
	}
	p.links = append(p.links, l)
	return nil
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
	errs := []error{p.older.Close(), p.again.Close()}
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	if p.ring != nil {
		errs = append(errs, p.ring.Close())
	}
	return errors.Join(append(errs, p.objects.Close())...)
}
