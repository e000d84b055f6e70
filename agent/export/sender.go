package export

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// sender sends the queue of an exporter, one request after the other. It is for one goroutine.
type sender struct {
	*Exporter

	// config is what transport is made for; nil: off.
	config    *Config
	transport transport
	files     *files
	read      time.Time // when the files were read
	encoder   *encoder
	encodes   *Config // what encoder is made for
	// chunk is the part of the queue whose events are being encoded.
	chunk *chunk
	// batch is the number of events in the request that is to be sent.
	batch uint64
	// reported are the losses that accepted requests report, reporting those that the present one does.
	reported, reporting uint64
	failures            int       // since the last success
	began               time.Time // when the request was sent for the first time
	logged              time.Time
}

// Run sends until ctx ends, and then what is queued, for a limited time.
func (e *Exporter) Run(ctx context.Context) {
	// Requests may go on when ctx ends.
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.flush, cancel) })
	defer stop()
	s := &sender{Exporter: e}
	tick := time.NewTicker(e.linger)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-e.changed:
		case <-e.full:
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

// adopt prepares for the configuration in force, if it has changed.
func (s *sender) adopt() {
	s.mu.Lock()
	config := s.Exporter.config
	s.mu.Unlock()
	if config == s.config {
		return
	}
	s.hangUp()
	s.failures = 0
	if s.config = config; config == nil {
		return
	}
	// A request that is encoded goes to the new endpoint, unless it may have events that must not be exported any more.
	if s.batch > 0 && !newModes(config).include(newModes(s.encodes)) {
		s.lose(Ended)
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

func (s *sender) hangUp() {
	if s.transport != nil {
		s.transport.close()
	}
	s.transport, s.files = nil, nil
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
	if s.reporting = s.losses() - s.reported; s.reporting > 0 {
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
	s.began = time.Time{}
	return s.batch > 0
}

func (s *sender) losses() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count.losses()
}

func (s *sender) countLost(n uint64, why Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.lost[why] += n
}

// lose gives the request up.
func (s *sender) lose(why Reason) {
	s.countLost(s.batch, why)
	s.batch = 0
	s.encoder.detach()
}

// discard gives everything up that is queued, and returns the number of events.
func (s *sender) discard() (n uint64) {
	if s.batch > 0 {
		n += s.batch
		s.lose(Ended)
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
	if s.began.IsZero() {
		s.began = time.Now()
	}
	for {
		answer, failed := s.attempt(hard)
		if failed == nil {
			s.accept(&answer)
			return
		}
		s.fail(failed)
		if !failed.retry {
			s.lose(Refused)
		} else if !failed.patient && time.Since(s.began) > s.impatience {
			s.lose(Expired)
		}
		if !s.pause(ctx, max(failed.after, s.backoff())) || s.batch == 0 {
			return
		}
	}
}

// attempt sends the request once.
func (s *sender) attempt(hard context.Context) (partialSuccess, *sendError) {
	if err := s.connect(); err != nil {
		return partialSuccess{}, &sendError{text: err.Error(), retry: true, patient: true}
	}
	ctx, cancel := context.WithTimeout(hard, s.config.Timeout.Duration)
	defer cancel()
	return s.transport.send(ctx, logs, s.encoder.request())
}

// connect makes the transport, anew where a file has changed.
func (s *sender) connect() error {
	if s.transport != nil && time.Since(s.read) < filesInterval {
		return nil
	}
	read, err := readFiles(s.config)
	if err != nil {
		s.hangUp()
		return err
	}
	s.read = time.Now()
	if s.transport != nil && s.files.sum == read.sum {
		return nil
	}
	s.hangUp()
	s.transport, err = dial(s.config, read, "orb8-agent/"+s.Version)
	s.files = read
	return err
}

// accept counts an accepted request.
func (s *sender) accept(p *partialSuccess) {
	rejected := uint64(p.rejectedOf(int(s.batch)))
	now := time.Now()
	s.mu.Lock()
	s.count.sent += s.batch - rejected
	s.count.lost[Refused] += rejected
	was := s.state
	s.state = state{lastSent: now}
	if rejected > 0 {
		s.state.failing = fmt.Sprintf("%d of %d records were rejected: %s", rejected, s.batch, p.message)
		s.state.since = was.since
		if was.since.IsZero() {
			s.state.since = now
		}
	}
	text := s.state.failing
	s.mu.Unlock()
	s.reported += s.reporting
	s.batch = 0
	switch {
	case rejected > 0:
		s.warn("the collector rejects records", text)
	case s.failures > 0:
		s.Log.Info("export works again", "endpoint", address(s.config),
			"failing", now.Sub(was.since).Round(time.Second))
	case p.message != "":
		s.warn("the collector accepts records with a warning", p.message)
	}
	s.failures = 0
}

// fail notes why a request was not accepted.
func (s *sender) fail(failed *sendError) {
	s.failures++
	s.mu.Lock()
	s.state.failing = failed.text
	if s.state.since.IsZero() {
		s.state.since = time.Now()
	}
	s.mu.Unlock()
	message := "export has failed: the records are retried later"
	if !failed.retry {
		message = "the collector refuses records, which are lost"
	}
	s.warn(message, failed.text)
}

func (s *sender) warn(message, text string) {
	if now := time.Now(); now.Sub(s.logged) >= logInterval {
		s.logged = now
		s.Log.Warn(message, "endpoint", address(s.config), "err", text)
	}
}

// backoff is the pause before another attempt: exponential, and half of it random.
func (s *sender) backoff() time.Duration {
	d := min(maxBackoff, s.firstBackoff<<min(max(s.failures-1, 0), 10))
	return d/2 + rand.N(d/2+1)
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
			if s.Exporter.config != nil {
				s.sweep(true)
			}
			s.mu.Unlock()
		}
	}
}
