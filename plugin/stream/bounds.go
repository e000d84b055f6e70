package stream

import (
	"sync"
	"time"
	"unicode/utf8"
)

// A tracer may run on a hostile node, or be another program: how long and how often it is listened to has bounds.

const (
	// readyTimeout bounds the wait for a tracer's key once its container runs. A tracer waits for its client for less.
	readyTimeout = 20 * time.Second
	// lineBurst lines that a tracer causes are shown at once, then one in each lineInterval.
	lineBurst    = 16
	lineInterval = 10 * time.Second
	// maxLines is how many lines of a tracer's own words a node has in a session, maxLineBytes how long one is.
	maxLines     = 128
	maxLineBytes = 1024
	// maxHeaderBytes bounds HTTP/2 headers, which hold the text of gRPC's errors.
	maxHeaderBytes = 16 << 10
	// stableAfter is how long a connection must have lasted for the next attempt to be made without a pause.
	stableAfter = 2 * time.Second
)

// lineBudget bounds lines. Its zero value is full, and has no limit of their number.
type lineBudget struct {
	limit int // in all; 0: any

	mu     sync.Mutex
	tokens float64
	at     time.Time
	shown  int
	left   uint64 // not shown
}

// allow reports whether a line may be shown now.
func (b *lineBudget) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.tokens = lineBurst
	} else {
		b.tokens = min(lineBurst, b.tokens+float64(now.Sub(b.at))/float64(lineInterval))
	}
	b.at = now
	if b.tokens < 1 || b.limit > 0 && b.shown >= b.limit {
		b.left++
		return false
	}
	b.tokens--
	b.shown++
	return true
}

// leftOut is how many lines were not shown.
func (b *lineBudget) leftOut() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left
}

// clip cuts a text of a tracer to maxLineBytes.
func clip(s string) string {
	if len(s) <= maxLineBytes {
		return s
	}
	n := maxLineBytes
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
