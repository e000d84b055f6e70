package flows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

const (
	// poll is how often the ring buffer is looked at: the kernel wakes us before only when much has piled up.
	poll = 50 * time.Millisecond
	// share of one core that walking the sockets may take: one in 20.
	share = 20
)

// flushRequest asks the walker for a sweep now. done is closed once the sink has had it all.
type flushRequest struct{ done chan error }

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &walker{probe: p}
	walked := make(chan error, 1)
	go func() {
		defer cancel()
		walked <- w.run(ctx)
	}()
	err := p.read(ctx, sink)
	cancel()
	return errors.Join(err, <-walked)
}

// read hands what is in the ring buffer to sink until ctx ends.
func (p *Probe) read(ctx context.Context, sink Sink) error {
	dec := newDecoder(p.clock)
	return p.ring.Read(ctx, bpf.Reading{
		Interval: poll,
		Record: func(raw []byte) error {
			cgroup, ev, err := dec.decode(raw)
			if err != nil {
				p.undecoded.Add(1)
				return nil
			}
			// Only a wall clock that was set back makes this happen.
			ev.Time = max(ev.Time, p.watermark.Load())
			sink(cgroup, ev)
			return nil
		},
		Empty: func(since uint64) error {
			p.watermark.Store(max(p.watermark.Load(), p.clock.Wall(since)))
			return p.clock.Keep()
		},
	})
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
