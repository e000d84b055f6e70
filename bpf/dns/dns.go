// Package dns reports the DNS queries of the processes of the cgroups in scope with their answers, and those they
// answer.
package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// MaxPorts is how many ports may be taken for DNS.
const MaxPorts = 16

// Options of a Probe.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
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

// Probe is the loaded maps and programs.
type Probe struct {
	bpf.Probe
	objects objectObjects
	ports   []uint16
	// evicted counts the streams and the queries that had to make room.
	evicted bpf.Evictions
	// flushing asks Run to report the queries that wait for their answer.
	flushing atomic.Bool
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if len(o.Ports) == 0 {
		o.Ports = []uint16{53}
	}
	if len(o.Ports) > MaxPorts {
		return nil, fmt.Errorf("%d DNS ports, want at most %d", len(o.Ports), MaxPorts)
	}
	p := &Probe{ports: o.Ports}
	if err := p.load(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(ctx context.Context, o Options) error {
	spec, err := bpf.ReadSpec(ctx, "dns", o.Scope.Types(), bpf.Variants{Latest: loadObject})
	if err != nil {
		return err
	}
	spec.SetRing(o.RingBytes)
	var ports [MaxPorts]uint16
	copy(ports[:], o.Ports)
	if err := spec.Set(map[string]any{objectVarPorts: ports}); err != nil {
		return err
	}
	clients := &spec.Maps[objectMapClients].MaxEntries
	*clients = cmp.Or(o.MaxClients, *clients)
	if err := spec.SetShares(bpf.ShareWithin(*clients)); err != nil {
		return err
	}
	if err := p.Load(spec, &p.objects, o.Scope.Maps()); err != nil {
		return err
	}
	return p.AttachCgroup(o.CgroupRoot,
		p.objects.DnsRelease, p.objects.DnsBind4, p.objects.DnsBind6, p.objects.DnsIn, p.objects.DnsOut)
}

// Lost returns the losses since Open.
func (p *Probe) Lost() []bpf.Loss {
	return append(p.Probe.Lost(), p.evicted.Lost(event.LossStage_LOSS_STAGE_DECODE)...)
}
