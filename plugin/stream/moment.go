package stream

import (
	"sync"
	"time"
)

// moment is a point in time that several goroutines move to now.
type moment struct {
	mu sync.Mutex
	at time.Time
}

func (m *moment) now() {
	m.mu.Lock()
	m.at = time.Now()
	m.mu.Unlock()
}

func (m *moment) get() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}
