package export

import (
	"context"
	"sync"
	"time"
)

// sender sends the queue of an exporter, as log records. It is for one goroutine.
type sender struct {
	client

	encoder *encoder
	encodes *Config // what encoder is made for
	// chunk is the part of the queue whose events are being encoded.
	chunk *chunk
	// batch is the number of events in the request that is to be sent.
	batch uint64
	// reported are the losses that accepted requests report, reporting those that the present one does.
	reported, reporting uint64
}

// Run sends until ctx ends, and then what is left, for a limited time.
func (e *Exporter) Run(ctx context.Context) {
	// Requests may go on when ctx ends.
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.flush, cancel) })
	defer stop()
	events := &sender{client: client{Exporter: e, stream: e.logs}}
	points := &snapshots{client: client{Exporter: e, stream: e.metrics}}
	var sending sync.WaitGroup
	sending.Go(func() { events.run(ctx, hard) })
	sending.Go(func() { points.run(ctx, hard) })
	sending.Wait()
}

// run sends until ctx ends, and then what is queued, until hard ends.
func (s *sender) run(ctx, hard context.Context) {
	tick := time.NewTicker(s.linger)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.changed:
		case <-s.full:
		case <-tick.C:
		}
		s.drain(ctx, hard)
	}
	s.end(hard)
}

// end sends what is left, and counts as lost what cannot be sent.
func (s *sender) end(hard context.Context) {
	s.mu.Lock()
	s.sweep(false)
	s.mu.Unlock()
	s.drain(hard, hard)
	s.modes.Store(nil)
	if n := s.discard(); n > 0 {
		s.Log.Warn("records were not exported before the end", "records", n, "endpoint", s.Status().Endpoint)
	}
	s.hangUp()
}

// drain sends until nothing is queued, or ctx ends. hard ends requests.
func (s *sender) drain(ctx, hard context.Context) {
	for ctx.Err() == nil {
		if s.adopt(); s.config == nil {
			s.discard()
			return
		}
		s.mu.Lock()
		s.sweep(true)
		s.mu.Unlock()
		if s.batch == 0 && !s.fill() {
			return
		}
		s.deliver(ctx, hard)
	}
}

// adopt takes over the configuration in force.
func (s *sender) adopt() {
	if !s.client.adopt() || s.config == nil {
		return
	}
	// A request that is encoded goes to the new endpoint, unless it may have events that must not be exported any more.
	if s.batch > 0 && !newModes(s.config).include(newModes(s.encodes)) {
		s.giveUp(Ended)
	}
}

// include reports whether all kinds of other modes are exported.
func (m *modes) include(other *modes) bool {
	for kind := range m {
		if m[kind] == skip && other[kind] != skip {
			return false
		}
	}
	return true
}

// next returns the next queued event, with the offset behind it in chunk; nil: there is none.
func (s *sender) next() ([]byte, int) {
	for {
		if s.chunk != nil {
			if ev, next := s.chunk.peek(); ev != nil {
				return ev, next
			}
		}
		s.mu.Lock()
		if s.chunk != nil {
			s.queue.release(s.chunk)
		}
		s.chunk = s.queue.pop()
		s.mu.Unlock()
		if s.chunk == nil {
			return nil, 0
		}
	}
}

// fill makes a request of queued events. It is false if there are none.
func (s *sender) fill() bool {
	if ev, _ := s.next(); ev == nil {
		return false
	}
	if s.encodes != s.config {
		s.encoder, s.encodes = newEncoder(s.Node, s.Version, s.config.Resource), s.config
	}
	e, modes, now := s.encoder, newModes(s.config), uint64(time.Now().UnixNano())
	e.reset()
	s.mu.Lock()
	s.reporting = s.losses() - s.reported
	s.mu.Unlock()
	if s.reporting > 0 {
		e.addLoss(s.Node, s.reporting, now)
	}
	for {
		ev, end := s.next()
		if ev == nil {
			break
		}
		if kind, _ := kindField(ev); modes.of(kind) == skip {
			s.chunk.skip(end)
			s.countLost(1, Ended) // it was queued under another configuration
			continue
		}
		size := e.size()
		ok := e.add(ev, now)
		if ok && e.size() > int(s.config.BatchBytes) {
			e.truncate(size)
			if s.batch > 0 {
				break
			}
			ok = false
		}
		s.chunk.skip(end)
		if !ok {
			s.countLost(1, Unreadable)
			continue
		}
		s.batch++
	}
	return s.batch > 0
}

// giveUp counts the request as lost.
func (s *sender) giveUp(why Reason) {
	s.lose(s.batch, why)
	s.forget()
}

// forget drops a request that is lost, which a transport may still read.
func (s *sender) forget() {
	s.batch = 0
	s.encoder.detach()
}

// discard gives everything up that is queued, and returns the number of events.
func (s *sender) discard() (n uint64) {
	if s.batch > 0 {
		n += s.batch
		s.giveUp(Ended)
	}
	for ev, end := s.next(); ev != nil; ev, end = s.next() {
		s.chunk.skip(end)
		s.countLost(1, Ended)
		n++
	}
	return n
}

// deliver sends the request until it is accepted or lost, ctx ends, or another configuration is in force.
func (s *sender) deliver(ctx, hard context.Context) {
	for {
		result, pause := s.try(hard, s.encoder.request(), s.batch)
		switch result {
		case delivered:
			s.reported += s.reporting
			s.batch = 0
			return
		case lost:
			s.forget()
		}
		if !s.pause(ctx, pause) || s.batch == 0 {
			return
		}
	}
}

// pause waits, and queues held states meanwhile. It is false if ctx ends or another configuration is in force.
func (s *sender) pause(ctx context.Context, d time.Duration) bool {
	timer, tick := time.NewTimer(d), time.NewTicker(s.linger)
	defer timer.Stop()
	defer tick.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		case <-s.changed:
			return false
		case <-tick.C:
			s.mu.Lock()
			s.sweep(true)
			s.mu.Unlock()
		}
	}
}
