package dns

import (
	"context"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// poll is how often the ring buffer is looked at: the kernel wakes us before only when much has piled up.
	poll = 50 * time.Millisecond
)

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	var (
		dec     = newDecoder(p.clock)
		streams = newStreams(p.evicted.Add)
		pairs   = newPairs(func(cgroup uint64, ev *event.Event) {
			// Only a wall clock that was set back makes this happen.
			ev.Time = max(ev.Time, p.watermark.Load())
			sink(cgroup, ev)
		}, p.evicted.Add)
		g segment
	)
	pairs.ports = p.ports
	message := func(b []byte) {
		m, err := parse(b)
		if err != nil {
			p.undecoded.Add(1)
			return
		}
		pairs.add(&g, &m)
	}
	return p.ring.Read(ctx, bpf.Reading{
		Interval: poll,
		Record: func(raw []byte) error {
			switch err := dec.decode(raw, &g); {
			case err != nil:
				p.undecoded.Add(1)
			case !g.tcp:
				message(g.data)
			case !streams.add(&g, message):
				p.undecoded.Add(1)
			}
			return nil
		},
		Empty: func(since uint64) error {
			now := p.clock.Wall(since)
			pairs.expire(now)
			if p.telling.Swap(false) {
				pairs.flush(now)
			}
			p.watermark.Store(max(p.watermark.Load(), now))
			return p.clock.Keep()
		},
	})
}

// Flush hands all that has happened to the sink of the running Run before it returns. Queries that wait for their answer go on waiting.
func (p *Probe) Flush(ctx context.Context) error { return p.ring.Flush(ctx) }

// FlushLast is the Flush at the end: it reports the queries that wait for their answer, as pending.
func (p *Probe) FlushLast(ctx context.Context) error {
	// First what is in the ring: a look that is under way would report what waits before it has seen the last queries and answers.
	if err := p.ring.Flush(ctx); err != nil {
		return err
	}
	p.telling.Store(true)
	return p.ring.Flush(ctx)
}
