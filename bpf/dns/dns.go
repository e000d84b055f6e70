// Package dns reports the DNS queries of the processes of the cgroups in scope with their answers, and those they answer.
package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// MaxPorts is how many ports may be taken for DNS.
const MaxPorts = 16

// Options of a Probe.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// CgroupRoot is where the cgroup v2 hierarchy is mounted.
	CgroupRoot string
	// Ports are those that DNS is spoken on; default 53.
	Ports []uint16
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 4 MiB.
	RingBytes uint32
	// MaxClients bounds the TCP connections of clients whose process is known; default 16,384. The last fifth is for
	// cgroups that have few. A connection takes 96 bytes.
	MaxClients uint32
}

// Sink takes one event and the id of the cgroup it concerns. The event is valid only during the call. Its names are not filled
// in.
type Sink = func(cgroup uint64, ev *event.Event)

// Probe is the loaded maps and programs.
type Probe struct {
	objects   objectObjects
	ports     []uint16
	links     []link.Link
	ring      *bpf.Ring
	clock     *bpf.Clock
	losses    bpf.Losses
	hooks     []string
	watermark atomic.Uint64
	undecoded atomic.Uint64
	// evicted counts the streams and the queries that had to make room.
	evicted bpf.Evictions
	// telling asks for what waits for its answer to be reported at the next look.
	telling atomic.Bool
}

var needs = []bpf.Need{
	{Feature: "BPF ring buffers", MinKernel: "5.8", Has: bpf.HasHelper("ringbuf_output")},
}

// Open loads the probe and attaches it. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(o.Ports) == 0 {
		o.Ports = []uint16{53}
	}
	if len(o.Ports) > MaxPorts {
		return nil, fmt.Errorf("%d DNS ports, want at most %d", len(o.Ports), MaxPorts)
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	p := &Probe{clock: clock, ports: o.Ports}
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
		return fmt.Errorf("read dns: %w", err)
	}
	p.hooks = bpf.Hooks(spec)
	var ports [MaxPorts]uint16
	copy(ports[:], o.Ports)
	if err := spec.Variables["ports"].Set(ports); err != nil {
		return fmt.Errorf("load dns: set ports: %w", err)
	}
	clients := &spec.Maps[objectMapClients].MaxEntries
	*clients = cmp.Or(o.MaxClients, *clients)
	if err := bpf.SetShares(spec, bpf.ShareWithin(*clients)); err != nil {
		return fmt.Errorf("load dns: %w", err)
	}
	if o.RingBytes != 0 {
		spec.Maps[objectMapEvents].MaxEntries = bpf.RingSize(o.RingBytes)
	}
	if err := spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{Cache: cache, MapReplacements: o.Scope.Maps()}); err != nil {
		return fmt.Errorf("load dns: %w", err)
	}
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	if p.ring, err = bpf.OpenRing(p.objects.Events); err != nil {
		return err
	}
	for _, c := range []struct {
		hook    ebpf.AttachType
		program *ebpf.Program
	}{
		{ebpf.AttachCgroupInetSockRelease, p.objects.DnsRelease},
		{ebpf.AttachCGroupInet4PostBind, p.objects.DnsBind4},
		{ebpf.AttachCGroupInet6PostBind, p.objects.DnsBind6},
		{ebpf.AttachCGroupInetIngress, p.objects.DnsIn},
		{ebpf.AttachCGroupInetEgress, p.objects.DnsOut},
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: o.CgroupRoot, Attach: c.hook, Program: c.program})
		if err != nil {
			return fmt.Errorf("attach %s: %w", c.program, err)
		}
		p.links = append(p.links, l)
	}
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
	return append(lost, p.evicted.Lost(event.LossStage_LOSS_STAGE_DECODE)...)
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
