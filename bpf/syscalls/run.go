package syscalls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// minRunning is the least age of a running call that Flush reports: shorter ones are about to return.
const minRunning = 10 * time.Millisecond

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	scanned := make(chan error, 1)
	go func() {
		defer cancel()
		scanned <- p.scanAll(ctx)
	}()
	err := p.read(ctx, sink)
	cancel()
	return errors.Join(err, <-scanned)
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

// scanAll reports calls that run for long, each interval.
func (p *Probe) scanAll(ctx context.Context) error {
	timer := time.NewTimer(bpf.Until(p.interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := p.scanRunning(p.interval, false); err != nil && !errors.Is(err, os.ErrClosed) {
			return err
		}
		timer.Reset(bpf.Until(p.interval))
	}
}

// scanRunning has the kernel report the calls that have run for at least least: all, or those not reported since they
// had run half as long.
func (p *Probe) scanRunning(least time.Duration, all bool) error {
	p.scanning.Lock()
	defer p.scanning.Unlock()
	if err := errors.Join(p.objects.ScanNs.Set(uint64(least)), p.objects.ScanAll.Set(all)); err != nil {
		return fmt.Errorf("scan running calls: %w", err)
	}
	if err := p.scan.Run(); err != nil {
		return fmt.Errorf("scan running calls: %w", err)
	}
	return nil
}

// Flush hands all that has happened, and the calls that are running, to the sink of the running Run before it returns.
func (p *Probe) Flush(ctx context.Context) error {
	if err := p.scanRunning(minRunning, true); err != nil {
		return err
	}
	return p.Probe.Flush(ctx)
}
