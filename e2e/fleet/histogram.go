package main

import (
	"sync/atomic"
	"time"
)

// histogram counts durations by the millisecond. It is safe for concurrent use.
type histogram struct {
	counts [maxMillis + 1]atomic.Uint64
}

// maxMillis is the longest duration with a count of its own, ms.
const maxMillis = 60_000

func (h *histogram) add(d time.Duration) {
	h.counts[min(max(d.Milliseconds(), 0), maxMillis)].Add(1)
}

func (h *histogram) reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
}

// quantile returns the duration that a share of all do not exceed, rounded up to a millisecond.
func (h *histogram) quantile(share float64) time.Duration {
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	sum := uint64(0)
	for i := range h.counts {
		if sum += h.counts[i].Load(); sum > 0 && float64(sum) >= share*float64(total) {
			return time.Duration(i+1) * time.Millisecond
		}
	}
	return 0
}
