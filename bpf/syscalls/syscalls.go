// Package syscalls reports the system calls of the cgroups in scope: each with its arguments, result and duration, or
// counted by container and call.
package syscalls

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// Options of a Probe or a Summary. The zero value of each but Scope means its default.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
	Scope *scope.Scope
	// Names of the calls wanted, of any architecture; none: all.
	Names []string
	// ErrorsOnly and MinDuration leave away calls that succeed and those that take less. A Summary has neither.
	ErrorsOnly  bool
	MinDuration time.Duration
	// Interval is how often running calls and totals are reported; default 1 s.
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

// Probe is the loaded maps and programs of single calls.
type Probe struct {
	bpf.Probe
	objects  probeObjects
	scan     *bpf.Iterator
	scanning sync.Mutex
	table    *table
	interval time.Duration
}

// probeObjects are those of the object file that single calls take.
type probeObjects struct {
	CallEnter *ebpf.Program `ebpf:"call_enter"`
	CallExit  *ebpf.Program `ebpf:"call_exit"`
	CallScan  *ebpf.Program `ebpf:"call_scan"`
	CallGone  *ebpf.Program `ebpf:"call_gone"`

	Calls        *ebpf.Map `ebpf:"calls"`
	Events       *ebpf.Map `ebpf:"events"`
	Losses       *ebpf.Map `ebpf:"losses"`
	CgroupLosses *ebpf.Map `ebpf:"cgroup_losses"`
	Shares       *ebpf.Map `ebpf:"shares"`

	Generation *ebpf.Variable `ebpf:"scope_generation"`
	ScanNs     *ebpf.Variable `ebpf:"scan_ns"`
	ScanAll    *ebpf.Variable `ebpf:"scan_all"`
	ShareUsed  *ebpf.Variable `ebpf:"share_used"`
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	p := &Probe{interval: o.Interval}
	if p.interval <= 0 {
		p.interval = time.Second
	}
	if err := p.load(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(ctx context.Context, o Options) (err error) {
	if p.table, err = newTable(o.Names); err != nil {
		return err
	}
	spec, err := readSpec(ctx, o)
	if err != nil {
		return err
	}
	spec.SetRing(o.RingBytes)
	if err := spec.Set(map[string]any{
		objectVarErrorsOnly: o.ErrorsOnly, objectVarMinNs: uint64(max(o.MinDuration, 0)),
	}); err != nil {
		return err
	}
	if err := p.Load(spec, &p.objects, o.Scope.Maps()); err != nil {
		return err
	}
	p.OnClose(follow(o.Scope, p.objects.Generation))
	if err := p.table.fill(p.objects.Calls); err != nil {
		return err
	}
	// The exits before the entries: an entry is never seen without its exit. Before both, what removes a thread's
	// record.
	if err := p.Attach(p.objects.CallGone, p.objects.CallExit, p.objects.CallEnter); err != nil {
		return err
	}
	p.scan, err = p.AttachIterator(p.objects.CallScan, nil)
	return err
}

// readSpec reads the programs of a Probe and a Summary.
func readSpec(ctx context.Context, o Options) (*bpf.Spec, error) {
	variants := bpf.Variants{Latest: loadObject, Pre515: loadPre515}
	spec, err := bpf.ReadSpec(ctx, "syscalls", o.Scope.Types(), variants)
	if err != nil {
		return nil, err
	}
	threads := bpf.ShareOf(cmp.Or(o.MaxThreads, 1<<15))
	if spec.Variant == bpf.Pre515 {
		spec.Maps[objectMapEntries].MaxEntries, spec.Maps[objectMapStarts].MaxEntries = threads.Size, threads.Size
	}
	return spec, spec.SetShares(threads)
}
