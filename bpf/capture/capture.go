// Package capture copies packets of the sockets of the cgroups in scope, those that a filter matches.
package capture

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"

	probe "github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Options of a Probe.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
	Scope *scope.Scope
	// CgroupRoot is where the cgroup v2 hierarchy is mounted.
	CgroupRoot string
	// SnapLength is how many bytes of each packet are copied; 0: event.MaxPacketBytes, which is also the most.
	SnapLength uint32
	// Filter is classic BPF over the packet from the IP header on; none: every packet matches.
	Filter []bpf.RawInstruction
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 16 MiB.
	RingBytes uint32
}

// Probe is the loaded maps and programs.
type Probe struct {
	probe.Probe
	objects objectObjects
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	p := new(Probe)
	if err := p.load(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(ctx context.Context, o Options) error {
	spec, err := probe.ReadSpec(ctx, "capture", o.Scope.Types(), probe.Variants{Latest: loadObject})
	if err != nil {
		return err
	}
	spec.SetRing(o.RingBytes)
	if o.SnapLength == 0 || o.SnapLength > event.MaxPacketBytes {
		o.SnapLength = event.MaxPacketBytes
	}
	if err := spec.Set(map[string]any{objectVarSnapLength: o.SnapLength}); err != nil {
		return err
	}
	if len(o.Filter) > 0 {
		if err := insertFilter(spec.CollectionSpec, o.Filter); err != nil {
			return fmt.Errorf("load capture: filter: %w", err)
		}
	}
	if err := p.Load(spec, &p.objects, o.Scope.Maps()); err != nil {
		return err
	}
	return p.AttachCgroup(o.CgroupRoot, p.objects.CaptureOut, p.objects.CaptureIn)
}

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink probe.Sink) error {
	d := newDecoder(p.Clock)
	return p.Read(ctx, probe.Reading{Record: func(raw []byte) error {
		cgroup, ev, err := d.decode(raw)
		if err == nil {
			p.Emit(sink, cgroup, ev)
		}
		return err
	}})
}

// Counted returns how many packets of the cgroups in scope the programs have seen, and how many of them matched.
func (p *Probe) Counted() (seen, matched uint64, err error) {
	for i, sum := range []*uint64{&seen, &matched} { // as enum in capture.bpf.c
		var perCPU []uint64
		if err := p.objects.Counts.Lookup(uint32(i), &perCPU); err != nil {
			return 0, 0, fmt.Errorf("read the counts of packets: %w", err)
		}
		for _, n := range perCPU {
			*sum += n
		}
	}
	return seen, matched, nil
}
