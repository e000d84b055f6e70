package collect

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// recordedSkew is by how much the clocks of two nodes of a recording may differ before the halves of a short flow
	// are two events.
	recordedSkew = 2 * time.Second
	// maxScanInterval is the longest time that a recorded flow without new reports is waited for.
	maxScanInterval = 10 * time.Second
)

// Play takes an event of a recording, and emits what is due by its time at, ns since the Unix epoch. This is the
// event's time by a clock that all nodes share. The events come in the order of these times; one that is older than the
// one before counts as of the same time. The event is the Collector's then, but for a flow, which is the caller's
// again. Play takes the place of Feed and Run, and is for one goroutine; FinishPlay ends it. An emitted event is valid
// only until emit returns. It returns emit's error.
func (c *Collector) Play(s *Source, ev *event.Event, at uint64, emit func(*event.Event) error) error {
	c.mu.Lock()
	if at := time.Unix(0, int64(min(at, maxPlayed))); at.After(c.played) {
		c.played = at
	}
	c.mu.Unlock()
	if err := c.drain(emit); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.check(ev) {
		c.take(s, ev, c.played)
	}
	return nil
}

// maxPlayed keeps times and sums of times from overflowing, ns since the Unix epoch.
const maxPlayed = 1 << 62

// PlayedOn sets the kernel that the events of a node are from: see Batch.
func (s *Source) PlayedOn(kernel string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.kernel, s.clock = kernel, s.c.clock(kernel)
}

// FinishPlay emits what waits.
func (c *Collector) FinishPlay(emit func(*event.Event) error) error {
	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	return c.drain(emit)
}

// drain emits all that is due.
func (c *Collector) drain(emit func(*event.Event) error) error {
	if c.out == nil {
		c.out = newBatch(emitBatch)
	}
	for {
		if c.collect(c.out); len(c.out.events) == 0 {
			return nil
		}
		for _, ev := range c.out.events {
			if err := emit(ev); err != nil {
				return err
			}
		}
	}
}

// now is the time that waits are measured by.
func (c *Collector) now() time.Time {
	if c.o.Recorded {
		return c.played
	}
	return time.Now()
}

// scanInterval is within what time a node reports an open flow again.
func (c *Collector) scanInterval() time.Duration {
	if c.o.Recorded {
		return min(c.o.Interval, maxScanInterval)
	}
	return c.o.Interval
}

// promise is the time before which the node will send no event.
func (s *Source) promise() uint64 {
	if s.c.o.Recorded {
		return uint64(max(s.c.played.Add(-recordedSkew).UnixNano(), 0))
	}
	return s.watermark
}
