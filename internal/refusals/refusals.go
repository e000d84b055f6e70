// Package refusals counts the calls and connections that were refused, and logs them: once per peer and minute.
package refusals

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	interval = time.Minute
	// maxPeers bounds the peers that are logged in a minute. Further ones are counted.
	maxPeers = 256
)

// Log counts and logs refusals. It is safe for concurrent use.
type Log struct {
	log *slog.Logger

	mu       sync.Mutex
	count    uint64
	since    time.Time // when this minute began
	logged   map[string]bool
	unlogged uint64 // since the last line
}

// New returns a Log that writes to log.
func New(log *slog.Logger) *Log { return &Log{log: log, logged: map[string]bool{}} }

// Add counts a refusal. peer may be an address with a port, which does not count: each connection has another one.
func (l *Log) Add(peer string, reason error) {
	if host, _, err := net.SplitHostPort(peer); err == nil {
		peer = host
	}
	l.mu.Lock()
	l.count++
	if now := time.Now(); now.Sub(l.since) >= interval {
		l.since = now
		clear(l.logged)
	}
	if l.logged[peer] || len(l.logged) >= maxPeers {
		l.unlogged++
		l.mu.Unlock()
		return
	}
	l.logged[peer] = true
	unlogged := l.unlogged
	l.unlogged = 0
	l.mu.Unlock()
	l.log.Warn("refused", "peer", peer, "reason", reason, "unlogged", unlogged)
}

// Count is the number of refusals so far.
func (l *Log) Count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}
