package collect

import (
	"time"
)

const (
	// memoryStep is the least change that is reported to Options.Memory.
	memoryStep = 64 << 10
	// flowOverhead is the memory of a flow without its parts: the struct, the index, the heaps.
	// sideOverhead is that of a side of a DNS query.
	flowOverhead = 416
	sideOverhead = 256
	// shedParts: of what it remembers, a Collector that holds too much gives up one part of so many at a time.
	shedParts = 8
)

// sharedMemory is the source of losses of flows that were evicted because Options.Memory allowed no more.
const sharedMemory = "shared memory limit"

// heldBytes is the approximate memory of the Collector.
func (c *Collector) heldBytes() int {
	return c.flowBytes + c.pendingBytes + c.queries.bytes + c.recent.n*flowOverhead + c.queries.n*sideOverhead +
		c.tombstones.len()*tombstoneBytes
}

// account reports the memory that is held.
func (c *Collector) account() {
	if c.o.Memory == nil {
		return
	}
	held := c.heldBytes()
	if d := held - c.held; !c.tight && d < memoryStep && d > -memoryStep {
		return
	}
	c.held = held
	c.tight = !c.o.Memory(held)
}

// shed gives up what is held until that is not too much, or evicted events have to be emitted first.
func (c *Collector) shed(now time.Time) {
	for c.account(); c.tight && len(c.order) == 0; c.account() {
		if c.recent.n+c.queries.n+c.tombstones.len() == 0 {
			return
		}
		c.shedPart(now)
	}
}

func (c *Collector) shedPart(now time.Time) {
	for range parts(c.recent.n) {
		c.evict(c.recent.oldest, now, sharedMemory)
	}
	for i := range c.tombstones.queues {
		q := &c.tombstones.queues[i]
		for range parts(q.n) {
			c.tombstones.pop(q, now.UnixNano())
		}
	}
	for range parts(c.queries.n) {
		c.queries.evictOldest(c, now)
	}
}

// parts is the number of n that are given up at a time.
func parts(n int) int { return (n + shedParts - 1) / shedParts }
