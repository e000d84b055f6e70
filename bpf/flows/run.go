package flows

import (
	"context"
	"errors"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// Run reports to sink until ctx ends. One goroutine at a time calls sink.
func (p *Probe) Run(ctx context.Context, sink bpf.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &scanner{probe: p}
	scanned := make(chan error, 1)
	go func() {
		defer cancel()
		scanned <- w.run(ctx)
	}()
	err := p.read(ctx, sink)
	cancel()
	return errors.Join(err, <-scanned)
}

// read passes the events in the ring buffer to sink until ctx ends.
func (p *Probe) read(ctx context.Context, sink bpf.Sink) error {
	dec := newDecoder(p.Clock, p.responses)
	return p.Read(ctx, bpf.Reading{Record: func(raw []byte) error {
		cgroup, ev, err := dec.decode(raw)
		if err == nil {
			p.Emit(sink, cgroup, ev)
		}
		return err
	}})
}

// Flush reports every flow that has changed to the sink of the running Run before it returns.
func (p *Probe) Flush(ctx context.Context) error { return p.requests.Flush(ctx) }
