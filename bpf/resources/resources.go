// Package resources reports what containers in scope use of the node, and what they wait for: processor time against its limit and throttling, waits for
// a processor, pressure, block I/O and memory against its limit.
//
// What the kernel tells in the cgroup's files is read there, on cgroup v1, v2 and hybrid hosts; what it does not is counted by programs.
package resources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Options of a Probe.
type Options struct {
	// Scope is only asked for the kernel's types: Containers says what is observed.
	Scope *scope.Scope
	// CgroupRoot is where cgroup v2 is mounted. The hierarchies of v1 are looked for beside it.
	CgroupRoot string
	// Containers lists the containers to report, at each look.
	Containers func() []Container
	// Interval is the time between two events of a container; 0 is a second.
	Interval time.Duration
	// maxTasks is the size of the table of threads; 0: that of the object. For tests.
	maxTasks uint32
}

// Container is one that is observed.
type Container struct {
	// Cgroup is the id of its own cgroup in the v2 hierarchy.
	Cgroup uint64
	// Path of that cgroup's directory below CgroupRoot, and below the root of each v1 hierarchy.
	Path string
	// Below are the ids of the cgroups that the container has made in its own.
	Below []uint64
}

// Sink takes the events of one container's cgroup. The event is valid only during the call.
type Sink = func(cgroup uint64, ev *event.Event)

// Probe is the loaded maps and programs.
type Probe struct {
	objects    objectObjects
	links      []link.Link
	hooks      []string
	clock      *bpf.Clock
	losses     bpf.Losses
	tree       *tree
	containers func() []Container
	periodic   *bpf.Periodic

	mu      sync.Mutex
	last    uint64 // the watermark
	walking uint64 // the time of the look that goes on; 0: none does
}

// Open loads the probe and attaches it. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	tree, err := newTree(o.CgroupRoot)
	if err != nil {
		return nil, err
	}
	p := &Probe{clock: clock, tree: tree, containers: o.Containers, periodic: bpf.NewPeriodic(o.Interval)}
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
	if err := bpf.Check(kernel,
		bpf.Need{Feature: "the tracepoint sched_switch", MinKernel: "5.5", Has: bpf.HasTracepoint("sched_switch")},
		bpf.Need{Feature: "the tracepoint block_rq_complete", MinKernel: "5.5", Has: bpf.HasTracepoint("block_rq_complete")},
	); err != nil {
		return err
	}
	spec, err := loadObject()
	if err != nil {
		return fmt.Errorf("read resources: %w", err)
	}
	p.hooks = bpf.Hooks(spec)
	if err := spec.Variables[objectVarLoadedNs].Set(bpf.Monotonic()); err != nil {
		return fmt.Errorf("set %s: %w", objectVarLoadedNs, err)
	}
	tasks := &spec.Maps[objectMapTasks].MaxEntries
	*tasks = cmp.Or(o.maxTasks, *tasks)
	if err := bpf.SetShares(spec, bpf.ShareWithin(*tasks)); err != nil {
		return fmt.Errorf("load resources: %w", err)
	}
	if err := spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{Cache: cache}); err != nil {
		return fmt.Errorf("load resources: %w", err)
	}
	p.losses = bpf.NewLosses(p.objects.Losses, &p.objects)
	for _, program := range []*ebpf.Program{p.objects.ResourcesFree, p.objects.ResourcesSwitch, p.objects.ResourcesBlock} {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return fmt.Errorf("attach resources: %w", err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

// Lost tells what was dropped since Open: tasks that could not be followed.
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
	return errors.Join(append(errs, p.objects.Close())...)
}
