// Package tcp reports the TCP connections of the cgroups in scope: whether and why not they were established, how and
// by which end they ended, and their retransmits.
package tcp

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// Options of a Probe.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
	Scope *scope.Scope
	// Interval in which retransmits of one connection are one event; default 1 s.
	Interval time.Duration
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 4 MiB.
	RingBytes uint32
	// MaxSockets bounds the sockets that are followed, of at most SocketBytes each; default 131,072.
	MaxSockets uint32
}

// SocketBytes is the kernel memory of a followed socket: 192 bytes for the first probe that follows it, and 256 for
// each.
const SocketBytes = 192 + 256

// Probe holds the loaded maps and programs.
type Probe struct {
	bpf.Probe
	options Options
	objects objectObjects
	// preexisting finds the sockets that are older than the trace, retransmits reports retransmissions.
	preexisting, retransmits *bpf.Iterator
	// scanning is held while an iterator runs.
	scanning sync.Mutex
	// reported is the value of retransmissions at the last scan.
	reported uint64

	doubts atomic.Int64
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	p := &Probe{options: o}
	if err := p.load(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

var variants = bpf.Variants{Latest: loadObject, Pre515: loadPre515, NoMapIter: loadNomapiter}

func (p *Probe) load(ctx context.Context) error {
	spec, err := bpf.ReadSpec(ctx, "tcp", p.options.Scope.Types(), variants)
	if err != nil {
		return err
	}
	spec.SetRing(p.options.RingBytes)
	sockets := bpf.ShareOf(cmp.Or(p.options.MaxSockets, 1<<17))
	if err := spec.SetShares(sockets); err != nil {
		return err
	}
	if spec.Variant != bpf.Latest {
		spec.Maps[objectMapTcpConns].MaxEntries = sockets.Size
	}
	if err := p.Load(spec, &p.objects, p.options.Scope.Maps()); err != nil {
		return err
	}
	o := &p.objects
	if err := p.Attach(o.TcpGone, o.TcpResetSent, o.TcpResetCame, o.TcpRetransmit, o.TcpReader,
		o.TcpState); err != nil {
		return err
	}
	if p.preexisting, err = p.AttachIterator(o.TcpPreexisting, nil); err != nil {
		return err
	}
	over := o.TcpConns
	if spec.Variant == bpf.NoMapIter {
		over = nil
	}
	p.retransmits, err = p.AttachIterator(o.TcpScan, over)
	return err
}
