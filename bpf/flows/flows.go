// Package flows reports the network conversations of the cgroups in scope: TCP read from the kernel's own socket counters,
// UDP, ICMP and raw sockets counted at cgroup_skb.
package flows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// kernelSockets is how many sockets of the kernel itself are followed: those of tunnels, say. Their places are not reused.
const kernelSockets = 1024

// SocketBytes is what the kernel keeps for a socket that is followed: 192 bytes for the first probe that follows it, and 256.
const SocketBytes = 192 + 256

// Options of a Probe. The zero value of each but Scope and CgroupRoot means its default.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// CgroupRoot is where cgroup v2 is mounted.
	CgroupRoot string
	// Interval between two updates of a live flow; default 1 s. It stretches by itself when there are very many sockets.
	Interval time.Duration
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 2 MiB.
	RingBytes uint32
	// MaxFlows bounds the flows of unconnected sockets, of IPv4 and of IPv6 each; default 131,072.
	MaxFlows uint32
	// MaxSockets bounds the sockets that are followed, of at most SocketBytes each; default 131,072.
	MaxSockets uint32
	// UDPIdle is how long a conversation without a connection may be silent before it counts as closed; default 30 s. It shrinks
	// by itself as flows fill the room for them.
	UDPIdle time.Duration
}

func (o Options) withDefaults() Options {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.RingBytes == 0 {
		o.RingBytes = 2 << 20
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = 1 << 17
	}
	if o.MaxSockets == 0 {
		o.MaxSockets = 1 << 17
	}
	if o.UDPIdle <= 0 {
		o.UDPIdle = 30 * time.Second
	}
	o.RingBytes = bpf.RingSize(o.RingBytes)
	return o
}

// Sink takes an event and the id of the cgroup it was made in. The event is valid only during the call: it is used again.
// Time and Flow are filled; the names of node and pod are not.
type Sink func(cgroup uint64, ev *event.Event)

// objects are the loaded maps and programs.
type objects struct {
	objectObjects
	// Dropped is of the programs for older kernels only.
	Dropped *ebpf.Map `ebpf:"packet_dropped"`
}

// Probe is the loaded maps and programs.
type Probe struct {
	options Options
	objects objects
	links   []link.Link
	walks   walks
	plain   bool // built with NO_MAP_ITERATORS
	freed   bool // dropped datagrams are known by kfree_skb
	ring    *bpf.Ring
	clock   *bpf.Clock
	losses  bpf.Losses
	hooks   []string

	interval  atomic.Int64 // ns
	watermark atomic.Uint64
	undecoded atomic.Uint64
	requests  chan flushRequest
}

// Open loads the probe and attaches it. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := bpf.CheckCgroupRoot(o.CgroupRoot); err != nil {
		return nil, err
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	p := &Probe{options: o.withDefaults(), clock: clock, requests: make(chan flushRequest)}
	p.interval.Store(int64(p.options.Interval))
	if err := p.load(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.attach(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// freedHook is the hook that only kernels before 6.10 need.
const freedHook = "tp_btf/kfree_skb"

var needs = []bpf.Need{
	{Feature: "BPF ring buffers", MinKernel: "5.8", Has: bpf.HasHelper("ringbuf_reserve")},
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
		return fmt.Errorf("read flows: %w", err)
	}
	params, err := bpf.TracepointParameters(kernel, "udp_fail_queue_rcv_skb")
	if err != nil {
		return err
	}
	if err := spec.Variables[objectVarDropHasSkb].Set(params > 2); err != nil {
		return fmt.Errorf("load flows: set %s: %w", objectVarDropHasSkb, err)
	}
	p.freed = params <= 2
	p.hooks = bpf.Hooks(spec)
	if !p.freed {
		p.hooks = slices.DeleteFunc(p.hooks, func(h string) bool { return h == freedHook })
	}
	spec.Maps[objectMapEvents].MaxEntries = p.options.RingBytes
	flows, sockets := bpf.ShareOf(p.options.MaxFlows), bpf.ShareOf(p.options.MaxSockets)
	spec.Maps[objectMapPacketFlows4].MaxEntries = flows.Size
	spec.Maps[objectMapPacketFlows6].MaxEntries = flows.Size
	if err := bpf.SetShares(spec, flows, flows, sockets, bpf.ShareWithin(kernelSockets)); err != nil {
		return fmt.Errorf("load flows: %w", err)
	}
	if bpf.Older(kernel) {
		spec.Maps[objectMapTcpSocks].MaxEntries = sockets.Size
	}
	options := &ebpf.CollectionOptions{Cache: cache, MapReplacements: p.options.Scope.Maps()}
	if spec.Maps[olderMapPacketDropped] == nil {
		err = spec.LoadAndAssign(&p.objects.objectObjects, options)
	} else {
		err = spec.LoadAndAssign(&p.objects, options)
	}
	if err != nil {
		return fmt.Errorf("load flows: %w", err)
	}
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	p.ring, err = bpf.OpenRing(p.objects.Events)
	return err
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

// Watermark is a time, ns since the Unix epoch: no event older than it will be reported any more.
func (p *Probe) Watermark() uint64 { return p.watermark.Load() }

// Hooks are what the probe is attached to, as libbpf names sections.
func (p *Probe) Hooks() []string { return p.hooks }

// Programs are what the probe has loaded.
func (p *Probe) Programs() []bpf.Program { return bpf.Programs(&p.objects) }

// Interval is the present time between two updates: Options.Interval, or more where walking the sockets takes long.
func (p *Probe) Interval() time.Duration { return time.Duration(p.interval.Load()) }

// Close detaches and unloads everything. A running Run returns.
func (p *Probe) Close() error {
	var errs []error
	for _, w := range p.walks.all() {
		errs = append(errs, w.Close())
	}
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	if p.ring != nil {
		errs = append(errs, p.ring.Close())
	}
	errs = append(errs, p.objects.Close(), p.objects.Dropped.Close())
	return errors.Join(errs...)
}
