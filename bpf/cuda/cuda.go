// Package cuda counts what the processes of the cgroups in scope ask of NVIDIA's driver library and of NCCL:
// launches, copies, synchronisations, memory. It counts calls and the host's time in them; how long the GPU works is
// not to be seen here.
package cuda

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// Options of a Probe. The zero value of each but Scope means its default.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
	Scope *scope.Scope
	// RingBytes is the size of the ring buffer of failures, rounded up to a power of two; default 256 KiB.
	RingBytes uint32
	// MaxProcesses is how many are counted at a time; default: as many as fit into countersBytes, at most maxProcesses.
	MaxProcesses uint32
	// MaxAllocations bounds the allocations whose memory is known to be outstanding; default 65,536. Of this, as of
	// MaxProcesses, the last fifth is for cgroups that have few.
	MaxAllocations uint32
	// Share is what the probes may cost a process, of a core; default: the constant.
	Share float64
	// Rest is how long probes stay off that cost too much, doubled each time up to sixteen times as long; default: the
	// constant.
	Rest time.Duration
	// Single attaches each function by itself, as before Linux 6.6.
	Single bool
}

const (
	// countersBytes bounds the memory of the counters, which each possible CPU has of its own.
	countersBytes = 16 << 20
	maxProcesses  = 4096
)

// Probe holds the loaded maps and programs, and their links.
type Probe struct {
	bpf.Probe
	objects objects
	spec    *ebpf.CollectionSpec // of single functions; nil: links have cookies
	types   *btf.Cache           // for them
	scope   *scope.Scope

	mu sync.Mutex
	// libraries are those with probes. off are the groups without, each until a time, ns of CLOCK_MONOTONIC.
	libraries map[*Library]bool
	off       [groups]bool
	rests     [groups]rest
	rest      time.Duration
	restored  uint64
	budget    budget
	costs     costs
	// held are the times in open calls as last reported, by process: they never go back.
	held map[objectProcess]held
}

// objects are the loaded maps and programs.
type objects struct {
	objectObjects
	Counts *ebpf.Map `ebpf:".bss"` // the programs' variables, of share.h
}

// attached is what holds probes in place. Programs are those loaded for one function.
type attached struct {
	enter, leave []link.Link
	programs     []*ebpf.Program
}

// Open loads the probe. It observes nothing before Attach. It returns a *bpf.NotSupportedError where the kernel is
// too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	p := &Probe{
		types: o.Scope.Types(), scope: o.Scope,
		held: map[objectProcess]held{}, libraries: map[*Library]bool{}, budget: budget{share: o.Share},
	}
	if p.budget.share <= 0 {
		p.budget.share = Share
	}
	if p.rest = o.Rest; p.rest <= 0 {
		p.rest = Rest
	}
	if err := p.load(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) load(ctx context.Context, o Options) error {
	spec, err := bpf.ReadSpec(ctx, "cuda", p.types, bpf.Variants{Latest: loadObject})
	if err != nil {
		return err
	}
	spec.SetRing(o.RingBytes)
	processes := o.MaxProcesses
	if processes == 0 {
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			return err
		}
		processes = uint32(min(maxProcesses, countersBytes/(cpus*int(spec.Maps[objectMapCounters].ValueSize))))
	}
	spec.Maps[objectMapCounters].MaxEntries, spec.Maps[objectMapProcesses].MaxEntries = processes, processes
	allocations := &spec.Maps[objectMapAllocations].MaxEntries
	*allocations = cmp.Or(o.MaxAllocations, *allocations)
	if err := spec.SetShares(bpf.ShareWithin(*allocations), bpf.ShareWithin(processes)); err != nil {
		return err
	}
	single := o.Single
	if !single {
		err := features.HaveBPFLinkUprobeMulti()
		if err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("try links of many uprobes: %w", err)
		}
		single = err != nil
	}
	if single {
		// Without cookies, that program is loaded for each function.
		for _, program := range spec.Programs {
			program.AttachType = ebpf.AttachNone
		}
		p.spec = spec.Copy()
		if err := spec.Set(map[string]any{objectVarSite: uint64(1)}); err != nil {
			return err
		}
	}
	if err := p.Load(spec, &p.objects, o.Scope.Maps()); err != nil {
		return err
	}
	if !single {
		p.types = nil // some MB
	}
	p.costs = usual
	if c, err := p.measure(); err == nil {
		p.costs = c
	}
	return nil
}

// Library is one that probes are attached to.
type Library struct {
	// Sites are where they are. Left are functions without, each with its reason.
	Sites []Site
	Left  []string
	// Since is when they were there, ns since the Unix epoch; Boottime is the same on CLOCK_BOOTTIME, that of the
	// start times of processes. Where a group of probes was taken off and put back, they are of when it was put back.
	Since, Boottime uint64

	links [groups]attached
}

// Attach probes the functions that a library has, in all processes that use it and will. The file is not needed any
// more afterwards.
func (p *Probe) Attach(f *os.File) (*Library, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	sites, left, err := Sites(f, uint64(info.Size()))
	if err != nil {
		return nil, err
	}
	l := &Library{Sites: sites, Left: left}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.attachGroups(l, f); err != nil {
		return nil, errors.Join(err, l.close())
	}
	p.libraries[l] = true
	return l, nil
}

// Incomplete reports whether a library lacks probes that were taken off for their cost and may be put back.
func (p *Probe) Incomplete(l *Library) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for group := range groups {
		if p.libraries[l] && !p.off[group] && l.links[group].empty() && len(l.sitesOf(group)) > 0 {
			return true
		}
	}
	return false
}

// Complete puts the probes back that a library lacks. f is the file that it was attached to.
func (p *Probe) Complete(l *Library, f *os.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.libraries[l] {
		return errors.New("the library is not probed")
	}
	return p.attachGroups(l, f)
}

// Detach takes all probes of a library off.
func (p *Probe) Detach(l *Library) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.libraries, l)
	return l.close()
}

// attachGroups attaches the groups of probes that are not off and not there yet: all of them, or none.
func (p *Probe) attachGroups(l *Library, f *os.File) error {
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return err
	}
	attach := p.attachMany
	if p.spec != nil {
		attach = p.attachSingly
	}
	var all [groups]attached
	for group := range groups {
		of := l.sitesOf(group)
		if len(of) == 0 || p.off[group] || !l.links[group].empty() {
			continue
		}
		if err := attach(&all[group], executable, of); err != nil {
			for i := range all {
				err = errors.Join(err, all[i].close())
			}
			return fmt.Errorf("attach probes: %w", err)
		}
	}
	for i := range all {
		l.links[i].add(&all[i])
	}
	if l.Boottime, err = bpf.Boottime(); err != nil {
		return err
	}
	l.Since = p.Clock.Wall(bpf.Monotonic())
	return nil
}

func (l *Library) sitesOf(group int) (of []Site) {
	for _, s := range l.Sites {
		if groupOf[s.function.class] == group {
			of = append(of, s)
		}
	}
	return of
}

func (l *Library) close() error {
	var errs []error
	for i := range l.links {
		errs = append(errs, l.links[i].close())
	}
	return errors.Join(errs...)
}

// attachMany attaches to many functions at once. What is to see returns goes first: a call is not seen to begin
// without its end.
func (p *Probe) attachMany(a *attached, executable *link.Executable, sites []Site) error {
	var offsets, cookies, returns []uint64
	for i := range sites {
		offsets, cookies = append(offsets, sites[i].Offset), append(cookies, sites[i].descriptor(p.costs))
		if sites[i].function.timed() {
			returns = append(returns, sites[i].Offset)
		}
	}
	if len(returns) > 0 {
		l, err := executable.UretprobeMulti(nil, p.objects.CudaReturn, &link.UprobeMultiOptions{Addresses: returns})
		if err != nil {
			return fmt.Errorf("to returns: %w", err)
		}
		a.leave = append(a.leave, l)
	}
	l, err := executable.UprobeMulti(nil, p.objects.CudaEnter, &link.UprobeMultiOptions{Addresses: offsets,
		Cookies: cookies})
	if err != nil {
		return err
	}
	a.enter = append(a.enter, l)
	return nil
}

// attachSingly loads a program for each function and attaches it.
func (p *Probe) attachSingly(a *attached, executable *link.Executable, sites []Site) error {
	for i := range sites {
		s := &sites[i]
		if s.function.timed() {
			l, err := executable.Uretprobe("", p.objects.CudaReturn, &link.UprobeOptions{Address: s.Offset})
			if err != nil {
				return fmt.Errorf("to the return of %s: %w", s.Name, err)
			}
			a.leave = append(a.leave, l)
		}
		program, err := p.programFor(s)
		if err != nil {
			return err
		}
		a.programs = append(a.programs, program)
		l, err := executable.Uprobe("", program, &link.UprobeOptions{Address: s.Offset})
		if err != nil {
			return fmt.Errorf("to %s: %w", s.Name, err)
		}
		a.enter = append(a.enter, l)
	}
	return nil
}

// programFor loads the program for one function.
func (p *Probe) programFor(s *Site) (*ebpf.Program, error) {
	spec := p.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != objectProgCudaEnter })
	if err := spec.Variables[objectVarSite].Set(s.descriptor(p.costs)); err != nil {
		return nil, fmt.Errorf("set %s: %w", objectVarSite, err)
	}
	o := &p.objects
	shared := p.scope.Maps()
	for name, m := range map[string]*ebpf.Map{
		objectMapAllocations: o.Allocations, objectMapCounters: o.Counters, objectMapEvents: o.Events,
		objectMapLosses: o.Losses, objectMapOpenCalls: o.OpenCalls, objectMapCgroupLosses: o.CgroupLosses,
		objectMapProcesses: o.Processes, objectMapStrangers: o.Strangers, objectMapShares: o.Shares, ".bss": o.Counts,
	} {
		shared[name] = m
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	var loaded struct {
		Enter *ebpf.Program `ebpf:"cuda_enter"`
	}
	options := &ebpf.CollectionOptions{Cache: p.types, MapReplacements: shared}
	if err := spec.LoadAndAssign(&loaded, options); err != nil {
		return nil, fmt.Errorf("load cuda for %s: %w", s.Name, err)
	}
	return loaded.Enter, nil
}

func (a *attached) add(more *attached) {
	a.enter, a.leave, a.programs = append(a.enter, more.enter...), append(a.leave, more.leave...),
		append(a.programs, more.programs...)
}

func (a *attached) empty() bool { return len(a.enter) == 0 }

// close takes the probes off: those at returns last, so that what has begun is seen to end.
func (a *attached) close() error {
	errs := []error{closeAll(a.enter), closeAll(a.leave)}
	for _, program := range a.programs {
		errs = append(errs, program.Close())
	}
	*a = attached{}
	return errors.Join(errs...)
}

// closeAll closes links at the same time: with each, the kernel waits until all CPUs have seen it go.
func closeAll(links []link.Link) error {
	var closing sync.WaitGroup
	errs := make([]error, len(links))
	for i, l := range links {
		closing.Go(func() { errs[i] = l.Close() })
	}
	closing.Wait()
	return errors.Join(errs...)
}

// Run reports calls that fail to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	dec := newDecoder(p.Clock)
	return p.Read(ctx, bpf.Reading{Record: func(raw []byte) error {
		cgroup, ev, err := dec.decode(raw)
		if err == nil {
			p.Emit(sink, cgroup, ev)
		}
		return err
	}})
}

// Hooks are what the probe is attached to.
func (p *Probe) Hooks() []string {
	if p.spec != nil {
		return []string{"uprobe", "uretprobe"}
	}
	return []string{"uprobe.multi", "uretprobe.multi"}
}

// Close detaches and unloads everything. A running Run returns.
func (p *Probe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for l := range p.libraries {
		errs = append(errs, l.close())
	}
	clear(p.libraries)
	return errors.Join(append(errs, p.Probe.Close())...)
}
