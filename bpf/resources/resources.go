// Package resources reports what containers in scope use of the node, and what they wait for: CPU time against its
// limit and throttling, waits for a CPU and for mutexes, pressure, block I/O and memory against its limit.
//
// What the cgroup's files hold is read there, on cgroup v1, v2 and hybrid hosts; programs count the rest.
package resources

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// Options of a Probe.
type Options struct {
	// Scope only has the kernel's types: Containers lists what is observed.
	Scope *scope.Scope
	// CgroupRoot is where cgroup v2 is mounted. The hierarchies of v1 are beside it.
	CgroupRoot string
	// Containers lists the containers to report, at each reading.
	Containers func() []Container
	// Interval is the time between two events of a container; 0 is a second.
	Interval time.Duration
	// maxTasks is the size of the table of threads; 0: that of the object. For tests.
	maxTasks uint32
	// longestWait is that of locks.go, for tests; 0: the constant.
	longestWait time.Duration
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

// Probe is the loaded maps and programs.
type Probe struct {
	bpf.Probe
	objects    objectObjects
	tree       *tree
	containers func() []Container
	periodic   *bpf.Periodic
	locks      lockSampler
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	tree, err := newTree(o.CgroupRoot)
	if err != nil {
		return nil, err
	}
	p := &Probe{tree: tree, containers: o.Containers, periodic: bpf.NewPeriodic(o.Interval)}
	if err := p.load(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(ctx context.Context, o Options) error {
	spec, err := bpf.ReadSpec(ctx, "resources", o.Scope.Types(), bpf.Variants{Latest: loadObject, Pre515: loadPre515},
		bpf.Need{Feature: "the tracepoint sched_switch", MinKernel: "5.5", Has: bpf.HasTracepoint("sched_switch")},
		bpf.Need{
			Feature: "the tracepoint block_rq_complete", MinKernel: "5.5", Has: bpf.HasTracepoint("block_rq_complete"),
		},
	)
	if err != nil {
		return err
	}
	if err := spec.Set(map[string]any{
		objectVarLoadedNs: bpf.Monotonic(), objectVarLongestWaitNs: int64(cmp.Or(o.longestWait, longestWait)),
	}); err != nil {
		return err
	}
	tasks := &spec.Maps[objectMapTasks].MaxEntries
	*tasks = cmp.Or(o.maxTasks, *tasks)
	if err := spec.SetShares(bpf.ShareWithin(*tasks)); err != nil {
		return err
	}
	if err := p.loadVariant(spec); err != nil {
		return err
	}
	if err := p.Attach(p.objects.ResourcesFree, p.objects.ResourcesSwitch, p.objects.ResourcesBlock); err != nil {
		return err
	}
	p.locks.iterator, err = p.AttachIterator(p.objects.ResourcesLocks, nil)
	return err
}

func (p *Probe) loadVariant(spec *bpf.Spec) error {
	if spec.Variant != bpf.Pre515 {
		return p.Load(spec, &p.objects, nil)
	}
	var loaded pre515Loaded
	err := p.Load(spec, &loaded, nil)
	p.objects = loaded.objectObjects
	if err != nil {
		return err
	}
	return loaded.learnRegisters()
}
