// Package signals reports the signals that are sent to processes of the cgroups in scope, and their senders.
package signals

import (
	"context"
	"errors"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// Options of a Probe.
type Options struct {
	// Scope says which cgroups are observed. It must outlive the probe.
	Scope *scope.Scope
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 1 MiB.
	RingBytes uint32
}

// Probe is the loaded maps and programs.
type Probe struct {
	bpf.Probe
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
	spec, err := bpf.ReadSpec(ctx, "signals", o.Scope.Types(), bpf.Variants{Latest: loadObject})
	if err != nil {
		return err
	}
	spec.SetRing(o.RingBytes)
	if err := p.Load(spec, &p.objects, o.Scope.Maps()); err != nil {
		return err
	}
	return p.Attach(p.objects.SignalGenerate)
}

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	d := newDecoder(p.Clock)
	return p.Read(ctx, bpf.Reading{Record: func(raw []byte) error {
		cgroup, ev, err := d.decode(raw)
		if err == nil {
			p.Emit(sink, cgroup, ev)
		}
		return err
	}})
}
