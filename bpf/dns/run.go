package dns

import (
	"context"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	var (
		dec     = newDecoder(p.Clock)
		streams = newStreams(p.evicted.Add)
		pairs   = newPairs(func(cgroup uint64, ev *event.Event) { p.Emit(sink, cgroup, ev) }, p.evicted.Add)
		g       segment
	)
	pairs.ports = p.ports
	message := func(b []byte) {
		m, err := parse(b)
		if err != nil {
			p.Undecoded.Add(1)
			return
		}
		pairs.add(&g, &m)
	}
	return p.Read(ctx, bpf.Reading{
		Record: func(raw []byte) error {
			switch err := dec.decode(raw, &g); {
			case err != nil:
				return err
			case !g.tcp:
				message(g.data)
			case !streams.add(&g, message):
				p.Undecoded.Add(1)
			}
			return nil
		},
		Empty: func(since uint64) error {
			now := p.Clock.Wall(since)
			pairs.expire(now)
			if p.flushing.Swap(false) {
				pairs.flush(now)
			}
			return p.Advance(since)
		},
	})
}

// FlushLast is the Flush at the end: it also reports the queries that wait for their answer, as pending.
func (p *Probe) FlushLast(ctx context.Context) error {
	// First what is in the ring: a running pass would report what waits before it has read the last queries and
	// answers.
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.flushing.Store(true)
	return p.Flush(ctx)
}
