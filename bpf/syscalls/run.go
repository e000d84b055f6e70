package syscalls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// passing is how long a call runs at least that Flush tells of: shorter ones are about to return.
const passing = 10 * time.Millisecond

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	walked := make(chan error, 1)
	go func() {
		defer cancel()
		walked <- p.walkAll(ctx)
	}()
	err := p.read(ctx, sink)
	cancel()
	return errors.Join(err, <-walked)
}

func (p *Probe) read(ctx context.Context, sink bpf.Sink) error {
	dec := newDecoder(p.Clock, p.table)
	return p.Read(ctx, bpf.Reading{Record: func(raw []byte) error {
		cgroup, ev, err := dec.decode(raw)
		if err == nil {
			p.Emit(sink, cgroup, ev)
		}
		return err
	}})
}

// walkAll looks for calls that run for long.
func (p *Probe) walkAll(ctx context.Context) error {
	timer := time.NewTimer(bpf.Until(p.interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := p.look(p.interval, false); err != nil && !errors.Is(err, os.ErrClosed) {
			return err
		}
		timer.Reset(bpf.Until(p.interval))
	}
}

// look has the kernel report the calls that have run for so long: all, or those not told of since they had run half as long.
func (p *Probe) look(least time.Duration, all bool) error {
	p.walking.Lock()
	defer p.walking.Unlock()
	if err := errors.Join(p.objects.WalkNs.Set(uint64(least)), p.objects.WalkAll.Set(all)); err != nil {
		return fmt.Errorf("look for running calls: %w", err)
	}
	if err := p.walk.Run(); err != nil {
		return fmt.Errorf("look for running calls: %w", err)
	}
	return nil
}

// Flush hands all that has happened, and the calls that are running, to the sink of the running Run before it returns.
func (p *Probe) Flush(ctx context.Context) error {
	if err := p.look(passing, true); err != nil {
		return err
	}
	return p.Probe.Flush(ctx)
}
