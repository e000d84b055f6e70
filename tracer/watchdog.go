package tracer

import (
	"sync"
	"sync/atomic"
	"time"
)

// watchdogSteps is how many timers must expire in sequence before the watchdog expires. A tracer that got no CPU for
// longer than the timeout, for example on a node that a pod floods, finds one expired timer and all heartbeats of that
// time. It reads them before the next steps are over.
const watchdogSteps = 8

// watchdog expires when the client sends no messages.
type watchdog struct {
	expired chan struct{} // closed after the timeout
	timeout time.Duration
	met     atomic.Bool // the client has sent a message

	mu    sync.Mutex
	timer *time.Timer
	step  time.Duration
	left  int // remaining steps
}

// newWatchdog waits for first until the client's first message, and for timeout after each message.
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

// heard restarts the timeout.
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
