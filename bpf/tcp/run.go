package tcp

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

const (
	// doubt is how long an end after the program's close is doubtful: it may turn out to be a RST of ours, which the
	// kernel sends right after it has ended the connection.
	doubt = 100 * time.Millisecond
	// maxDoubts bounds the doubtful ends. Beyond, the oldest is reported as it is.
	maxDoubts = 1 << 14
)

// reader turns records into events.
type reader struct {
	probe *Probe
	sink  bpf.Sink
	dec   *decoder
	rec   objectTcpEvent
	// doubtful are the ends that wait for a RST of ours, in their order.
	doubtful []objectTcpEvent

	nextScan    time.Time
	preexisting bpf.Rescans
}

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	r := &reader{probe: p, sink: sink, dec: newDecoder(p.Clock)}
	r.preexisting.Grown = math.MaxUint64 // the first scan is due in an empty scope, too
	if err := r.findPreexisting(time.Now()); err != nil {
		return err
	}
	return p.Read(ctx, bpf.Reading{Record: r.record, Empty: r.empty})
}

func (r *reader) record(raw []byte) error {
	if err := parse(raw, &r.rec); err != nil {
		r.probe.Undecoded.Add(1)
		return nil
	}
	switch {
	case r.rec.Phase == phaseResetSent:
		// It is among the newest.
		for i := len(r.doubtful) - 1; i >= 0; i-- {
			if r.doubtful[i].Cookie == r.rec.Cookie {
				r.doubtful[i].Flags |= rstSent
				break
			}
		}
	case r.rec.Flags&doubtful != 0:
		if len(r.doubtful) >= maxDoubts {
			r.release(1)
		}
		r.doubtful = append(r.doubtful, r.rec)
		r.probe.doubts.Store(int64(len(r.doubtful)))
	default:
		r.emit(&r.rec)
	}
	return nil
}

func (r *reader) emit(e *objectTcpEvent) {
	r.probe.Emit(r.sink, e.Cgroup, r.dec.decode(e))
}

// release reports the first n doubtful ends.
func (r *reader) release(n int) {
	for i := range r.doubtful[:n] {
		r.emit(&r.doubtful[i])
	}
	r.doubtful = append(r.doubtful[:0], r.doubtful[n:]...)
	r.probe.doubts.Store(int64(len(r.doubtful)))
}

// releaseUntil reports the ends that are no longer doubtful at a time of CLOCK_MONOTONIC. It returns the time before
// which no end is left.
func (r *reader) releaseUntil(since uint64) uint64 {
	n := 0
	for n < len(r.doubtful) && (r.doubtful[n].Flags&rstSent != 0 || r.doubtful[n].TimeNs+uint64(doubt) <= since) {
		n++
	}
	r.release(n)
	// Ends that are still doubtful will be reported with their own times.
	for i := range r.doubtful {
		since = min(since, r.doubtful[i].TimeNs)
	}
	return since
}

func (r *reader) empty(since uint64) error {
	p := r.probe
	if err := p.Advance(r.releaseUntil(since)); err != nil {
		return err
	}
	now := time.Now()
	if err := r.findPreexisting(now); err != nil {
		return err
	}
	if left := r.nextScan.Sub(now); left <= 0 || left > p.options.Interval {
		r.nextScan = now.Truncate(p.options.Interval).Add(p.options.Interval)
		return p.scan()
	}
	return nil
}

// findPreexisting finds sockets that are older than the trace, or in scope only now, when that is due.
func (r *reader) findPreexisting(now time.Time) error {
	p := r.probe
	if !r.preexisting.Due(now, p.options.Scope.Grown(), p.options.Interval) {
		return nil
	}
	p.scanning.Lock()
	defer p.scanning.Unlock()
	begin := time.Now()
	if err := p.preexisting.Run(); err != nil {
		return fmt.Errorf("find preexisting sockets: %w", err)
	}
	r.preexisting.Took(now, time.Since(begin))
	return nil
}

// scan reports retransmissions, if there are any.
func (p *Probe) scan() error {
	p.scanning.Lock()
	defer p.scanning.Unlock()
	var n uint64
	if err := p.objects.Retransmissions.Get(&n); err != nil {
		return fmt.Errorf("read the retransmissions: %w", err)
	}
	if n == p.reported {
		return nil
	}
	put, err := p.Losses.Deferred()
	if err != nil {
		return err
	}
	if err := p.retransmits.Run(); err != nil {
		return fmt.Errorf("scan the sockets: %w", err)
	}
	after, err := p.Losses.Deferred()
	if after == put {
		p.reported = n
	}
	return err
}

// Flush returns when the sink of the running Run has had all events up to now.
func (p *Probe) Flush(ctx context.Context) error {
	if err := p.scan(); err != nil {
		return err
	}
	for {
		if err := p.Probe.Flush(ctx); err != nil {
			return err
		}
		if p.doubts.Load() == 0 {
			return nil
		}
		select {
		case <-time.After(doubt):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
