// Package drops reports the packets that the kernel throws away of the pods in scope: why, where in the kernel, and
// how many.
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

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// defaultMaxFlows is the default of Options.MaxFlows.
const defaultMaxFlows = 16384

// Options of a Probe.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
	Scope *scope.Scope
	// Interval between two reports of what goes on; default 1 s.
	Interval time.Duration
	// MaxFlows is how many drops of different reason, place or 5-tuple are counted at a time, and a quarter more of
	// cgroups that have few; default 16,384.
	MaxFlows uint32
	// PodNetworks is how many network namespaces of one pod are known at a time; default 64.
	PodNetworks uint64
}

// objects are the loaded maps and programs.
type objects struct {
	objectObjects
	// PlaceLine is of the programs built with NOMAPITER only.
	PlaceLine *ebpf.Map `ebpf:"place_line"`
}

// Probe is the loaded maps and programs.
type Probe struct {
	bpf.Probe
	options Options
	objects objects
	// places returns what the kernel prints of the places of all drops there are.
	places   func() (io.ReadCloser, error)
	reasons  reasons
	requests bpf.Requests
	networks networks

	mu        sync.Mutex
	addresses map[netip.Addr]uint64
}

const (
	defaultInterval    = time.Second
	defaultPodNetworks = 64
)

var needs = []bpf.Need{
	{Feature: "iterators that print", MinKernel: "5.9", Has: bpf.HasHelper("seq_printf")},
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	p := &Probe{options: o, requests: bpf.NewRequests(), addresses: map[netip.Addr]uint64{}}
	if err := p.load(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(ctx context.Context) error {
	variants := bpf.Variants{Latest: loadObject, NoMapIter: loadNomapiter}
	spec, err := bpf.ReadSpec(ctx, "drops", p.options.Scope.Types(), variants, needs...)
	if err != nil {
		return err
	}
	p.reasons = readReasons(spec.Kernel)
	params, err := bpf.TracepointParameters(spec.Kernel, "kfree_skb")
	if err != nil {
		return err
	}
	if err := spec.Set(map[string]any{
		objectVarHasReason: params > 2, objectVarHasReceiver: params > 3, objectVarConsumed: p.reasons.consumed,
		objectVarPodNetworks: cmp.Or(p.options.PodNetworks, defaultPodNetworks),
	}); err != nil {
		return err
	}
	room := bpf.ShareOf(cmp.Or(p.options.MaxFlows, defaultMaxFlows))
	spec.Maps[objectMapDrops].MaxEntries = room.Size
	if err := spec.SetShares(room); err != nil {
		return err
	}
	var objects any = &p.objects.objectObjects
	if spec.Variant == bpf.NoMapIter {
		objects = &p.objects
	}
	if err := p.Load(spec, objects, p.options.Scope.Maps()); err != nil {
		return err
	}
	if p.places = p.printed; spec.Variant != bpf.NoMapIter {
		printer, err := p.AttachIterator(p.objects.DropsPlaces, p.objects.Drops)
		if err != nil {
			return err
		}
		p.places = printer.Open
	}
	if err := p.Attach(p.objects.DropsExec, p.objects.DropsKfreeSkb); err != nil {
		return err
	}
	return p.networks.open(p)
}

// SetAddresses sets the cgroup of the pod that has each address. Addresses of pods on the node's own network are left
// out.
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
