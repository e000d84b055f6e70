// Package drops reports the packets that the kernel throws away of the pods in scope: why, where in the kernel, and how many.
package drops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// defaultMaxFlows is the default of Options.MaxFlows.
const defaultMaxFlows = 16384

// Options of a Probe.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// Interval between two reports of what goes on; default 1 s.
	Interval time.Duration
	// MaxFlows is how many drops of different reason, place or 5-tuple are counted at a time, and a quarter more of cgroups
	// that have few; default 16,384.
	MaxFlows uint32
	// PodNetworks is how many network namespaces of one pod are known at a time; default 64.
	PodNetworks uint64
}

// Sink takes one event and the id of the cgroup it concerns. The event is valid only during the call. Its names are not filled
// in.
type Sink = func(cgroup uint64, ev *event.Event)

// objects are the loaded maps and programs.
type objects struct {
	objectObjects
	// PlaceLine is of the programs built with NO_MAP_ITERATORS only.
	PlaceLine *ebpf.Map `ebpf:"place_line"`
}

// Probe is the loaded maps and programs.
type Probe struct {
	options Options
	objects objects
	links   []link.Link
	// places gives what the kernel prints of the places of all drops there are.
	places   func() (io.ReadCloser, error)
	clock    *bpf.Clock
	losses   bpf.Losses
	hooks    []string
	reasons  reasons
	requests chan chan error
	networks networks

	mu sync.Mutex
	// walking is when the walk that goes on began, ns since the Unix epoch; 0: none does.
	walking uint64
	// last is what Watermark said last.
	last      uint64
	addresses map[netip.Addr]uint64
}

const (
	defaultInterval    = time.Second
	defaultPodNetworks = 64
)

var needs = []bpf.Need{
	{Feature: "iterators that print", MinKernel: "5.9", Has: bpf.HasHelper("seq_printf")},
}

// Open loads the probe and attaches it. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	p := &Probe{options: o, clock: clock, requests: make(chan chan error), addresses: map[netip.Addr]uint64{}}
	if err := p.load(); err != nil {
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
	load, plain := loadObject, bpf.MapIteratorsRefused()
	if plain {
		load = loadPlain
	}
	spec, err := load()
	if err != nil {
		return fmt.Errorf("read drops: %w", err)
	}
	p.hooks = bpf.Hooks(spec)
	p.reasons = readReasons(kernel)
	params, err := bpf.TracepointParameters(kernel, "kfree_skb")
	if err != nil {
		return err
	}
	for name, value := range map[string]any{
		"has_reason": params > 2, "has_receiver": params > 3, "consumed": p.reasons.consumed,
		"pod_networks": cmp.Or(p.options.PodNetworks, defaultPodNetworks),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("load drops: set %s: %w", name, err)
		}
	}
	room := bpf.ShareOf(cmp.Or(p.options.MaxFlows, defaultMaxFlows))
	spec.Maps[objectMapDrops].MaxEntries = room.Size
	if err := bpf.SetShares(spec, room); err != nil {
		return fmt.Errorf("load drops: %w", err)
	}
	options := &ebpf.CollectionOptions{Cache: cache, MapReplacements: p.options.Scope.Maps()}
	if plain {
		err = spec.LoadAndAssign(&p.objects, options)
	} else {
		err = spec.LoadAndAssign(&p.objects.objectObjects, options)
	}
	if err != nil {
		return fmt.Errorf("load drops: %w", err)
	}
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	if p.places = p.printed; !plain {
		iter, err := link.AttachIter(link.IterOptions{Program: p.objects.DropsPlaces, Map: p.objects.Drops})
		if err != nil {
			return fmt.Errorf("attach %s: %w", p.objects.DropsPlaces, err)
		}
		p.links = append(p.links, iter)
		p.places = iter.Open
	}
	for _, program := range []*ebpf.Program{p.objects.DropsExec, p.objects.DropsKfreeSkb} {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return fmt.Errorf("attach %s: %w", program, err)
		}
		p.links = append(p.links, l)
	}
	return p.networks.open(&p.objects.objectObjects, p.options.Scope)
}

// SetAddresses says which addresses are whose: the cgroup of the pod that has one, and none of pods on the node's own network.
func (p *Probe) SetAddresses(all map[netip.Addr]uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, cgroup := range all {
		if p.addresses[a] == cgroup {
			continue
		}
		if err := p.objects.Addresses.Put(a.As16(), cgroup); err != nil {
			return fmt.Errorf("observe the address %s: %w", a, err)
		}
		p.addresses[a] = cgroup
	}
	for a := range p.addresses {
		if _, ok := all[a]; ok {
			continue
		}
		if err := p.objects.Addresses.Delete(a.As16()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("observe the address %s no more: %w", a, err)
		}
		delete(p.addresses, a)
	}
	return nil
}

// Lost tells what was dropped since Open.
func (p *Probe) Lost() []bpf.Loss {
	lost, err := p.losses.Lost()
	if err != nil {
		return nil // closed
	}
	return lost
}

// Hooks are what the probe is attached to, as libbpf names sections.
func (p *Probe) Hooks() []string { return p.hooks }

// Programs are what the probe has loaded.
func (p *Probe) Programs() []bpf.Program { return bpf.Programs(&p.objects) }

// Close detaches and unloads everything, after Run has returned.
func (p *Probe) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, p.networks.close(), p.objects.Close(), p.objects.PlaceLine.Close())...)
}
