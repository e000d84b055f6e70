package flows

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

const (
	// poll is how often the ring buffer is looked at: the kernel wakes us before only when much has piled up.
	poll = 50 * time.Millisecond
	// share of one core that walking the sockets may take: one in 20.
	share = 20
	// setClock is how often the wall clock is compared with the kernel's.
	setClock = 10 * time.Second
)

// flushRequest asks the walker for a sweep now. done is closed once the sink has had it all.
type flushRequest struct{ done chan error }

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &walker{probe: p, drained: make(chan struct{}, 1)}
	walked := make(chan error, 1)
	go func() {
		defer cancel()
		walked <- w.run(ctx)
	}()
	err := p.read(ctx, sink, w.drained)
	cancel()
	return errors.Join(err, <-walked)
}

// read hands what is in the ring buffer to sink until ctx ends, and says on drained when it has met a flush.
func (p *Probe) read(ctx context.Context, sink Sink, drained chan<- struct{}) error {
	var (
		rec ringbuf.Record
		dec = newDecoder(p.clock)
		// Whatever was in the ring buffer at this time has been read once the ring buffer is found empty later on.
		since   uint64
		clocked time.Time
	)
	arm := func() error {
		now := time.Now()
		p.ring.SetDeadline(now.Add(poll))
		if now.Sub(clocked) > setClock {
			clocked = now
			if err := p.clock.Set(); err != nil {
				return err
			}
		}
		var err error
		since, err = bpf.Monotonic()
		return err
	}
	if err := arm(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := p.ring.ReadInto(&rec)
		switch {
		case err == nil:
			cgroup, ev, err := dec.decode(rec.RawSample)
			if err != nil {
				p.undecoded.Add(1)
				continue
			}
			// Only a wall clock that was set back makes this happen.
			ev.Time = max(ev.Time, p.watermark.Load())
			sink(cgroup, ev)
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
			p.watermark.Store(max(p.watermark.Load(), p.clock.Wall(since)))
			if errors.Is(err, ringbuf.ErrFlushed) {
				select {
				case drained <- struct{}{}:
				default:
				}
			}
			if err := arm(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("read the ring buffer of flows: %w", err)
		}
	}
	return nil
}

// Flush reports every flow that has changed to the sink of the running Run before it returns.
func (p *Probe) Flush(ctx context.Context) error {
	r := flushRequest{make(chan error, 1)}
	select {
	case p.requests <- r:
	case <-ctx.Done():
		return fmt.Errorf("flush flows: %w", ctx.Err())
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("flush flows: %w", ctx.Err())
	}
}
