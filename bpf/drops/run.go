package drops

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// idle is how long after its last packet a drop is forgotten; one that comes again then begins to count at 0.
const idle = time.Minute

// Run reports to sink until ctx ends: each interval, what has been dropped in it. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	w := &walker{probe: p, decoder: newDecoder(p.clock, p.reasons), seen: map[objectDropKey]uint64{}}
	w.places.open = p.places
	wake := time.NewTimer(bpf.Until(p.options.Interval))
	defer wake.Stop()
	scan := time.NewTimer(scanInterval)
	defer scan.Stop()
	for {
		var done chan error
		select {
		case <-ctx.Done():
			return nil
		case <-p.networks.grown:
			scan.Reset(time.Until(p.networks.next))
			continue
		case <-scan.C:
			if err := p.networks.scan(); err != nil {
				return err
			}
			scan.Reset(scanInterval)
			continue
		case done = <-p.requests:
		case <-wake.C:
		}
		err := w.walk(sink)
		if done != nil {
			done <- err
		}
		if err != nil {
			return err
		}
		wake.Reset(bpf.Until(p.options.Interval))
	}
}

// Flush hands all that has happened to the sink of the running Run before it returns.
func (p *Probe) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case p.requests <- done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Watermark is a time, ns since the Unix epoch: nothing older than it will be reported any more. Events have the time of the
// walk that finds them.
func (p *Probe) Watermark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walking != 0 {
		return p.walking
	}
	p.last = max(p.last, p.clock.Wall(bpf.Monotonic()))
	return p.last
}

// walker reads what the kernel has counted.
type walker struct {
	probe   *Probe
	decoder *decoder
	// seen are the packets of each drop that were last reported.
	seen   map[objectDropKey]uint64
	places places
}

func (w *walker) walk(sink Sink) error {
	p := w.probe
	now := p.Watermark()
	p.mu.Lock()
	p.walking = now
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.walking = 0
		p.mu.Unlock()
	}()
	var (
		key   objectDropKey
		value objectDrop
		old   []objectDropKey
	)
	forget := bpf.Monotonic() - uint64(idle)
	held := make(map[uint64]int64)
	entries := p.objects.Drops.Iterate()
	for entries.Next(&key, &value) {
		held[key.Cgroup]++
		if value.Packets != w.seen[key] {
			location, err := w.places.name(key.Location)
			if err != nil {
				return err
			}
			w.seen[key] = value.Packets
			ev := w.decoder.decode(&key, &value, location)
			ev.Time = now
			sink(key.Cgroup, ev)
		} else if value.LastNs < forget {
			old = append(old, key)
			held[key.Cgroup]--
		}
	}
	// Entries that come and go while it runs make an iteration begin anew; what it then misses is there the next time.
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the dropped packets: %w", err)
	}
	for i := range old {
		if err := p.objects.Drops.Delete(&old[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a drop: %w", err)
		}
		delete(w.seen, old[i])
	}
	if entries.Err() == nil {
		if err := p.share(held); err != nil {
			return fmt.Errorf("count the drops of each pod: %w", err)
		}
	}
	return p.clock.Keep()
}

// share tells the program how many drops each cgroup holds. What it adds meanwhile is counted at the next walk.
func (p *Probe) share(held map[uint64]int64) error {
	var (
		cgroup     uint64
		was, used  int64
		gone       []uint64
		errs       []error
		everyShare = p.objects.Shares.Iterate()
	)
	for everyShare.Next(&cgroup, &was) {
		if held[cgroup] == 0 {
			gone = append(gone, cgroup)
		}
	}
	if err := everyShare.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for _, cgroup := range gone {
		if err := p.objects.Shares.Delete(cgroup); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	for cgroup, n := range held {
		used += n
		if n > 0 {
			errs = append(errs, p.objects.Shares.Put(cgroup, n))
		}
	}
	return errors.Join(append(errs, p.objects.ShareUsed.Set([]int64{used}))...)
}
