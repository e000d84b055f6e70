package stream

import (
	"sync"
	"time"
)

// lastTime is a point in time that several goroutines move to now.
type lastTime struct {
	mu sync.Mutex
	at time.Time
}

func (m *lastTime) now() {
	m.mu.Lock()
	m.at = time.Now()
	m.mu.Unlock()
}

func (m *lastTime) get() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}
