package flows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf/link"
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

// walker reports the sockets that have changed, each interval and when asked.
type walker struct {
	probe   *Probe
	drained chan struct{}
	scratch [64]byte
}

func (w *walker) run(ctx context.Context) error {
	p := w.probe
	timer := time.NewTimer(p.Interval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			begin := time.Now()
			if err := w.walk(); err != nil {
				return err
			}
			cost := time.Since(begin)
			p.interval.Store(int64(max(p.options.Interval, share*cost)))
			timer.Reset(p.Interval() - cost)
		case r := <-p.requests:
			r.done <- w.flush(ctx)
		}
	}
}

// walk runs every iterator once. The programs report through the ring buffer.
func (w *walker) walk() error {
	for _, it := range w.probe.walks {
		if err := w.iterate(it); err != nil {
			return fmt.Errorf("walk the sockets: %w", err)
		}
	}
	return nil
}

func (w *walker) iterate(it *link.Iter) error {
	r, err := it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		// Nothing is ever read: reading is what makes the program run.
		if _, err := r.Read(w.scratch[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// flush walks until nothing had to be put off for want of room in the ring buffer, and the sink has had everything.
func (w *walker) flush(ctx context.Context) error {
	p := w.probe
	for {
		before, err := p.losses.Deferred()
		if err != nil {
			return err
		}
		if err := w.walk(); err != nil {
			return err
		}
		if err := w.drain(ctx); err != nil {
			return err
		}
		after, err := p.losses.Deferred()
		if err != nil || after == before {
			return err
		}
	}
}

// drain waits until the sink has had everything that is in the ring buffer now.
func (w *walker) drain(ctx context.Context) error {
	select {
	case <-w.drained: // left by a flush of nobody's
	default:
	}
	if err := w.probe.ring.Flush(); err != nil {
		return fmt.Errorf("flush flows: %w", err)
	}
	select {
	case <-w.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush flows: %w", ctx.Err())
	}
}
