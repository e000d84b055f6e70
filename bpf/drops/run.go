package drops

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// idle is how long after its last packet a drop is forgotten; a later packet of it counts from 0.
const idle = time.Minute

// Run reports to sink until ctx ends: each interval, what has been dropped in it. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	w := &scanner{probe: p, decoder: newDecoder(p.Clock, p.reasons), seen: map[objectDropKey]uint64{}}
	w.places.open = p.places
	wake := time.NewTimer(bpf.Until(p.options.Interval))
	defer wake.Stop()
	scan := time.NewTimer(scanInterval)
	defer scan.Stop()
	for {
		var done chan<- error
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
		err := p.Scan(func(now uint64) error { return w.scan(now, sink) })
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
func (p *Probe) Flush(ctx context.Context) error { return p.requests.Flush(ctx) }

// scanner reads what the kernel has counted.
type scanner struct {
	probe   *Probe
	decoder *decoder
	// seen are the packets of each drop that were last reported.
	seen   map[objectDropKey]uint64
	places places
}

// batch is the number of drops that are read at once: a table of thousands costs two system calls for each otherwise.
// No bucket has as many.
const batch = 256

func (w *scanner) scan(now uint64, sink bpf.Sink) error {
	p := w.probe
	var (
		cursor ebpf.MapBatchCursor
		keys   [batch]objectDropKey
		values [batch]objectDrop
		old    []objectDropKey
	)
	forget := bpf.Monotonic() - uint64(idle)
	for last := false; !last; {
		n, err := p.objects.Drops.BatchLookup(&cursor, keys[:], values[:], nil)
		if last = errors.Is(err, ebpf.ErrKeyNotExist); err != nil && !last {
			return fmt.Errorf("read the dropped packets: %w", err)
		}
		for i := range n {
			key, value := &keys[i], &values[i]
			if value.Packets == w.seen[*key] {
				if value.LastNs < forget {
					old = append(old, *key)
				}
				continue
			}
			location, err := w.places.name(key.Location)
			if err != nil {
				return err
			}
			w.seen[*key] = value.Packets
			ev := w.decoder.decode(key, value, location)
			ev.Time = now
			sink(key.Cgroup, ev)
		}
	}
	return w.forget(old)
}

// forget deletes drops, and releases their places.
func (w *scanner) forget(old []objectDropKey) error {
	p := w.probe
	deleted := make(map[uint64]uint64)
	var errs []error
	for i := range old {
		switch err := p.objects.Drops.Delete(&old[i]); {
		case err == nil:
			deleted[old[i].Cgroup]++
		case !errors.Is(err, ebpf.ErrKeyNotExist):
			errs = append(errs, fmt.Errorf("forget a drop: %w", err))
		}
		delete(w.seen, old[i])
	}
	for cgroup, n := range deleted {
		if _, err := p.objects.DropsGiveBack.Run(&ebpf.RunOptions{Context: [2]uint64{cgroup, n}}); err != nil {
			errs = append(errs, fmt.Errorf("release the places of %d drops: %w", n, err))
		}
	}
	return errors.Join(errs...)
}
