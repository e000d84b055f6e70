package stream

import (
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"
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

// lineBudget bounds lines by their rate and, where limit is not 0, by their number.
type lineBudget struct {
	rate  *rate.Limiter
	limit int

	mu    sync.Mutex
	shown int
	left  uint64 // not shown
}

func newLineBudget(limit int) *lineBudget {
	return &lineBudget{rate: rate.NewLimiter(rate.Every(lineInterval), lineBurst), limit: limit}
}

// allow reports whether a line may be shown now.
func (b *lineBudget) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit > 0 && b.shown >= b.limit || !b.rate.AllowN(now, 1) {
		b.left++
		return false
	}
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
