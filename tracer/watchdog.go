package tracer

import (
	"sync"
	"sync/atomic"
	"time"
)

// watchdog notices that the client is silent.
type watchdog struct {
	expired chan struct{} // closed when it has been silent for too long
	timeout time.Duration
	timer   *time.Timer
	met     atomic.Bool // the client was heard at least once
}

// newWatchdog waits for first until the client is first heard, and for timeout each time after it.
func newWatchdog(first, timeout time.Duration) *watchdog {
	w := &watchdog{expired: make(chan struct{}), timeout: timeout}
	var once sync.Once
	w.timer = time.AfterFunc(first, func() { once.Do(func() { close(w.expired) }) })
	return w
}

// heard begins the wait anew.
func (w *watchdog) heard() {
	w.met.Store(true)
	w.timer.Reset(w.timeout)
}

func (w *watchdog) stop() { w.timer.Stop() }
