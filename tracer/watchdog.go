package tracer

import (
	"sync"
	"sync/atomic"
	"time"
)

// watchdogSteps is how many timers have to expire, one after another, before the client counts as silent. A tracer that
// got no CPU for longer than the timeout, as on a node that a pod floods, finds one expired timer and the heartbeats of
// all that time: it reads them before the next steps are over.
const watchdogSteps = 8

// watchdog notices that the client is silent.
type watchdog struct {
	expired chan struct{} // closed when it has been silent for too long
	timeout time.Duration
	met     atomic.Bool // the client was heard at least once

	mu    sync.Mutex
	timer *time.Timer
	step  time.Duration
	left  int // steps
}

// newWatchdog waits for first until the client is first heard, and for timeout each time after it.
func newWatchdog(first, timeout time.Duration) *watchdog {
	w := &watchdog{expired: make(chan struct{}), timeout: timeout, step: first / watchdogSteps, left: watchdogSteps}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.step, w.tick)
	return w
}

func (w *watchdog) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.left--; {
	case w.left > 0:
		w.timer.Reset(w.step)
	case w.left == 0:
		close(w.expired)
	}
}

// heard begins the wait anew.
func (w *watchdog) heard() {
	w.met.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left <= 0 {
		return // it has expired
	}
	w.step, w.left = w.timeout/watchdogSteps, watchdogSteps
	w.timer.Reset(w.step)
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = 0
	w.timer.Stop()
}
