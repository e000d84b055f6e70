package resources

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Run reports to sink until ctx ends: each interval, one event for each container that it has seen before. One
// goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sampled := make(chan error, 1)
	go func() {
		defer cancel()
		sampled <- p.locks.run(ctx)
	}()
	w := newWatcher(p, sink)
	err := p.periodic.Run(ctx, func() error { return p.Scan(w.readAll) })
	cancel()
	return errors.Join(err, <-sampled)
}

// Flush reads the containers now, and returns when the sink of the running Run has had the events.
func (p *Probe) Flush(ctx context.Context) error { return p.periodic.Flush(ctx) }

// shortest is the least interval of an event, in ns: in a shorter one a few ticks would be many percent.
const shortest = 100e6

// watched is a container and its last reading.
type watched struct {
	id      string
	cgroups []uint64 // in waits: its own and those below
	block   uint64   // in block_ios; 0: none is its own
	at      uint64   // ns, monotonic
	usage   usage
	waits   waits
	io      objectBlockIo
	// lockMicros is how long its threads have waited for mutexes, by samples, since the first reading.
	lockMicros float64
	reading    uint64 // the last reading that found it
}

// waits sums over CPUs and cgroups.
type waits struct {
	runs, ns uint64 // for a CPU
	buckets  [buckets]uint64
	// samples is how many there have been of threads that wait for a mutex, of any container, and forLocks the
	// threads in them.
	samples, forLocks uint64
}

const buckets = 32

// watcher turns each reading of the containers into events.
type watcher struct {
	*Probe
	sink  bpf.Sink
	known map[uint64]*watched
	// seed keeps the ids of two nodes apart, whose cgroups have the same numbers.
	seed    maphash.Seed
	reading uint64
	node    nodeCPU
	listen  listenReader
	perCPU  []objectTaskWaits

	ev event.Event
	r  event.Resources
}

func newWatcher(p *Probe, sink bpf.Sink) *watcher {
	w := &watcher{Probe: p, sink: sink, known: map[uint64]*watched{}, seed: maphash.MakeSeed(),
		listen: newListenReader("/proc")}
	w.ev.Kind = &event.Event_Resources{Resources: &w.r}
	return w
}

func (w *watcher) readAll(now uint64) error {
	w.reading++
	if err := w.node.read(statFile); err != nil {
		return err
	}
	w.locks.mu.Lock()
	defer w.locks.mu.Unlock()
	for _, c := range w.containers() {
		if err := w.readContainer(c, now); err != nil {
			return fmt.Errorf("read cgroup %s: %w", c.Path, err)
		}
	}
	for id, k := range w.known {
		if k.reading == w.reading {
			continue
		}
		if err := w.forget(k); err != nil {
			return err
		}
		delete(w.known, id)
	}
	return nil
}

func (w *watcher) readContainer(c Container, now uint64) error {
	mono := bpf.Monotonic()
	u, err := w.tree.read(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the container has just ended
	}
	if err != nil {
		return err
	}
	u.listenOverflows = w.listen.read(filepath.Join(w.tree.v2, c.Path))
	k := w.known[c.Cgroup]
	first := k == nil
	if first {
		k = &watched{id: fmt.Sprintf("%016x", maphash.Comparable(w.seed, c.Cgroup))}
		if k.block, err = w.addBlock(c); err != nil {
			return err
		}
		w.known[c.Cgroup] = k
	}
	k.reading = w.reading
	if err := w.follow(k, c); err != nil {
		return err
	}
	waited, err := w.readWaits(k)
	if err != nil {
		return err
	}
	var io objectBlockIo
	if k.block != 0 {
		if err := w.objects.BlockIos.Lookup(k.block, &io); err != nil {
			return fmt.Errorf("read block I/O: %w", err)
		}
	}
	// A reading right after another is the trace's own, at its beginning or its end.
	if first {
		k.at, k.usage, k.waits, k.io = mono, u, waited, io
		return nil
	}
	if mono-k.at < shortest {
		return nil
	}
	w.ev.Time = now
	w.fill(k, mono-k.at, &u, &waited, &io)
	k.at, k.usage, k.waits, k.io = mono, u, waited, io
	w.sink(c.Cgroup, &w.ev)
	return nil
}

// addBlock makes the programs count the block I/O of a container. It returns 0 where the container has no cgroup of its
// own for block I/O.
func (w *watcher) addBlock(c Container) (uint64, error) {
	id, ok := w.tree.blockCgroup(c)
	if !ok {
		return 0, nil
	}
	if err := w.objects.BlockIos.Update(id, &objectBlockIo{}, ebpf.UpdateNoExist); err != nil &&
		!errors.Is(err, ebpf.ErrKeyExist) {
		return 0, fmt.Errorf("count block I/O: %w", err)
	}
	return id, nil
}

// follow makes the programs count the waits of tasks in all cgroups of a container.
func (w *watcher) follow(k *watched, c Container) error {
	if len(k.cgroups) == 1+len(c.Below) {
		return nil
	}
	have := make(map[uint64]bool, len(k.cgroups))
	for _, id := range k.cgroups {
		have[id] = true
	}
	zero := make([]objectTaskWaits, len(w.perCPU))
	for _, id := range append([]uint64{c.Cgroup}, c.Below...) {
		if have[id] {
			continue
		}
		if len(zero) == 0 {
			n, err := ebpf.PossibleCPU()
			if err != nil {
				return err
			}
			zero = make([]objectTaskWaits, n)
		}
		if err := w.objects.Waits.Update(id, zero, ebpf.UpdateNoExist); err != nil &&
			!errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("count waits of tasks: %w", err)
		}
		k.cgroups = append(k.cgroups, id)
	}
	return nil
}

// readWaits sums the waits of a container's tasks, including those in cgroups that it has removed.
func (w *watcher) readWaits(k *watched) (sum waits, err error) {
	sum.samples = w.locks.samples
	for _, id := range k.cgroups {
		if err := w.objects.Waits.Lookup(id, &w.perCPU); err != nil {
			return sum, fmt.Errorf("read waits of tasks: %w", err)
		}
		for i := range w.perCPU {
			c := &w.perCPU[i]
			sum.runs += c.Runs
			sum.ns += c.Ns
			sum.forLocks += c.ForLocks
			for j, n := range c.Buckets {
				sum.buckets[j] += n
			}
		}
	}
	return sum, nil
}

// forget removes a container's counters from the maps.
func (w *watcher) forget(k *watched) error {
	for _, id := range k.cgroups {
		if err := w.objects.Waits.Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget waits of tasks: %w", err)
		}
	}
	if k.block != 0 {
		if err := w.objects.BlockIos.Delete(k.block); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget block I/O: %w", err)
		}
	}
	return nil
}
