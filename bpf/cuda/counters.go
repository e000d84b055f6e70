package cuda

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Process is one that has called a library.
type Process struct {
	ID
	Cgroup uint64
	// Comm is the process's name at its first call.
	Comm []byte
	// Calls are what it has asked for since the probes were attached. Numbers that were taken off are absent; those
	// of the collectives, and of outstanding memory, are the caller's to leave away where they are of no meaning.
	Calls *event.GpuCalls
}

// ID identifies a process, also where its number is reused later.
type ID struct {
	PID uint32
	// Started is when it began, ns of CLOCK_BOOTTIME.
	Started uint64
}

func (id ID) key() objectProcess { return objectProcess{Started: id.Started, Tgid: id.PID} }

// held is the time in calls, those that were open included, as last reported.
type held struct{ copying, syncing uint64 }

// open is what calls that have not returned add to a process's numbers.
type open struct{ copying, syncing, longest uint64 }

// words are what groups are called where their probes were taken off.
var words = [groups]string{
	launches: "launches, graphLaunches", copies: "copies", syncs: "syncs", memory: "allocations",
	collectives: "collectives",
}

// ReadCounters returns the calls of all processes since their probes were attached. It takes off, for a while, the
// groups of probes that cost more than Options.Share; their numbers are absent.
func (p *Probe) ReadCounters() ([]Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Process
	var id objectProcess
	var perCPU []objectCounts
	sums := map[objectProcess]*objectCounts{}
	for i := p.objects.Counters.Iterate(); ; {
		if !i.Next(&id, &perCPU) {
			if err := i.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
				return nil, fmt.Errorf("read counters: %w", err)
			}
			break
		}
		sum := sumOf(perCPU)
		sums[id] = &sum
	}
	// Open calls are read after the returned ones: a call that returns between is in neither, and comes with the next
	// reading.
	opened, err := p.opened()
	if err != nil {
		return nil, err
	}
	spent := map[objectProcess]spending{}
	for id, sum := range sums {
		spent[id] = sum.Spent
		var about objectAbout
		if err := p.objects.Processes.Lookup(id, &about); err != nil {
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue // it is just making its first call
			}
			return nil, fmt.Errorf("read processes: %w", err)
		}
		all = append(all, Process{
			ID: ID{id.Tgid, id.Started}, Cgroup: about.Cgroup, Comm: slices.Clone(bpf.Text(about.Comm[:])),
			Calls: p.calls(id, sum, opened[id]),
		})
	}
	if err := p.spend(spent); err != nil {
		return nil, err
	}
	return all, nil
}

// None is what a process has asked for that has asked for nothing.
func (p *Probe) None() *event.GpuCalls {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fill(new(objectCounts), held{}, open{})
}

// opened sums the calls that have not returned, by process.
func (p *Probe) opened() (map[objectProcess]open, error) {
	sums := map[objectProcess]open{}
	threads := map[uint32]bool{}
	var thread uint32
	var call objectCall
	now := bpf.Monotonic()
	for i := p.objects.OpenCalls.Iterate(); ; {
		if !i.Next(&thread, &call) {
			if err := i.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
				return nil, fmt.Errorf("read open calls: %w", err)
			}
			return sums, nil
		}
		if threads[thread] || call.Since > now {
			continue // the iteration restarts when the map changes
		}
		threads[thread] = true
		o := sums[call.Process]
		switch call.Site & 15 {
		case classCopy:
			o.copying += now - call.Since
		case classSync:
			o.syncing += now - call.Since
			o.longest = max(o.longest, now-call.Since)
		}
		sums[call.Process] = o
	}
}

// calls puts a process's numbers together.
func (p *Probe) calls(id objectProcess, sum *objectCounts, o open) *event.GpuCalls {
	h := p.held[id]
	h.copying, h.syncing = max(h.copying, sum.CopyNs+o.copying), max(h.syncing, sum.SyncNs+o.syncing)
	p.held[id] = h
	return p.fill(sum, h, o)
}

// fill leaves away the numbers whose probes were taken off.
func (p *Probe) fill(sum *objectCounts, h held, o open) *event.GpuCalls {
	c := &event.GpuCalls{Failures: &sum.Failures}
	if !p.off[launches] {
		c.Launches, c.GraphLaunches = &sum.Launches, &sum.Graphs
	}
	if !p.off[copies] {
		c.Copies, c.CopyMicros = &sum.Copies, micros(h.copying)
		c.HostToDeviceBytes, c.DeviceToHostBytes, c.DeviceToDeviceBytes = &sum.Copied[hostToDevice],
			&sum.Copied[deviceToHost], &sum.Copied[deviceToDevice]
		c.OtherBytes = &sum.Copied[other]
	}
	if !p.off[syncs] {
		c.Syncs, c.SyncMicros = &sum.Syncs, micros(h.syncing)
		if o.longest > 0 {
			c.WaitingMicros = micros(o.longest)
		}
	}
	if !p.off[memory] {
		c.Allocations, c.Frees, c.AllocatedBytes = &sum.Allocations, &sum.Frees, &sum.Allocated
		if outstanding := sum.Allocated - sum.Freed; sum.Untracked == 0 {
			c.OutstandingBytes = &outstanding
		}
	}
	if !p.off[collectives] {
		c.Collectives = &sum.Collectives
	}
	return c
}

func micros(ns uint64) *uint64 {
	n := ns / 1000
	return &n
}

func sumOf(perCPU []objectCounts) (sum objectCounts) {
	for i := range perCPU {
		c := &perCPU[i]
		sum.Launches += c.Launches
		sum.Graphs += c.Graphs
		sum.Copies += c.Copies
		sum.CopyNs += c.CopyNs
		sum.Syncs += c.Syncs
		sum.SyncNs += c.SyncNs
		sum.Allocations += c.Allocations
		sum.Frees += c.Frees
		sum.Allocated += c.Allocated
		sum.Freed += c.Freed
		sum.Untracked += c.Untracked
		sum.Failures += c.Failures
		sum.Collectives += c.Collectives
		for j, n := range c.Copied {
			sum.Copied[j] += n
		}
		for j, n := range c.Spent {
			sum.Spent[j] += n
		}
	}
	return sum
}

// spend takes off the probes that cost too much.
func (p *Probe) spend(spent map[objectProcess]spending) error {
	var strangers spending
	var perCPU []uint64
	for g := range groups {
		if err := p.objects.Strangers.Lookup(uint32(g), &perCPU); err != nil {
			return fmt.Errorf("read what strangers spend: %w", err)
		}
		for _, n := range perCPU {
			strangers[g] += n
		}
	}
	spent[objectProcess{}] = strangers
	now := bpf.Monotonic()
	for group := range groups {
		if p.off[group] && now >= p.rests[group].until {
			p.off[group] = false
			p.restored++
		}
	}
	group, over := p.budget.judge(now, spent)
	if !over || p.off[group] {
		return nil
	}
	p.off[group] = true
	p.rests[group].begin(now, p.rest)
	for l := range p.libraries {
		if err := l.links[group].close(); err != nil {
			return fmt.Errorf("take probes off: %w", err)
		}
	}
	// Nobody will see those return.
	return p.drop(func(c *objectCall) bool { return groupOf[c.Site&15] == group })
}

// Off names the numbers that are absent because their probes were taken off for what they cost; empty: none.
func (p *Probe) Off() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for group, off := range p.off {
		if off {
			names = append(names, words[group])
		}
	}
	return names
}

// Restored counts how often a group of probes that was taken off may be put back: Complete does it.
func (p *Probe) Restored() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restored
}

// drop forgets open calls.
func (p *Probe) drop(which func(*objectCall) bool) error {
	var thread uint32
	var call objectCall
	var gone []uint32
	for i := p.objects.OpenCalls.Iterate(); i.Next(&thread, &call); {
		if which(&call) {
			gone = append(gone, thread)
		}
	}
	return remove(p.objects.OpenCalls, gone)
}

// Forget drops all that is kept of processes that have ended.
func (p *Probe) Forget(processes []ID) error {
	if len(processes) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := map[objectProcess]bool{}
	keys := make([]objectProcess, len(processes))
	held := false
	for i, id := range processes {
		keys[i] = id.key()
		gone[keys[i]] = true
		var perCPU []objectCounts
		if p.objects.Counters.Lookup(keys[i], &perCPU) == nil {
			sum := sumOf(perCPU)
			held = held || sum.Allocated != sum.Freed
		}
		delete(p.held, keys[i])
	}
	errs := []error{
		remove(p.objects.Counters, keys), p.drop(func(c *objectCall) bool { return gone[c.Process] }),
	}
	if held {
		errs = append(errs, p.forgetMemory(gone))
	}
	for _, k := range keys {
		errs = append(errs, forget(p.objects.ForgetProcess, k.Started, uint64(k.Tgid)))
	}
	return errors.Join(errs...)
}

// forgetMemory removes the allocations of processes.
func (p *Probe) forgetMemory(gone map[objectProcess]bool) error {
	var (
		a    objectAllocation
		m    objectMemory
		of   []objectAllocation
		errs []error
	)
	for i := p.objects.Allocations.Iterate(); i.Next(&a, &m); {
		if gone[a.Process] {
			of = append(of, a)
		}
	}
	for _, a := range of {
		of := a.Process
		errs = append(errs, forget(p.objects.ForgetMemory, of.Started, uint64(of.Tgid), a.Address, a.Handle))
	}
	return errors.Join(errs...)
}

// forget runs a program that removes the element of its arguments and releases its place.
func forget(program *ebpf.Program, arguments ...uint64) error {
	if _, err := program.Run(&ebpf.RunOptions{Context: arguments}); err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}

func remove[K any](m *ebpf.Map, keys []K) error {
	for _, k := range keys {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove from %s: %w", m, err)
		}
	}
	return nil
}
