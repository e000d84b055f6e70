package stream

import (
	"fmt"
	"time"
)

const (
	// maxAttempts is how many tracers in a row may be lost before they stream; the node has failed then.
	maxAttempts = 3
	// maxShort is how many may be lost that have streamed for less than healthyAfter. Only one that has streamed for so
	// long begins the counts anew: a node must not make Jobs without end.
	maxShort     = 8
	healthyAfter = time.Minute
	// firstPause is before the third tracer of such, and twice as long before each further one, up to maxPause.
	firstPause, maxPause = time.Second, 30 * time.Second
)

// restarts decides whether and when a node gets another tracer.
type restarts struct {
	silent int // how many were lost that had not streamed, since one that had
	short  int // how many were lost that had streamed for too short, since one that had for long enough
}

// lost counts a tracer that was lost after it had streamed for a time, or without: 0. It returns how long to wait
// before the next one, or why there is none.
func (r *restarts) lost(streamed time.Duration) (pause time.Duration, giveUp string) {
	switch {
	case streamed >= healthyAfter:
		r.silent, r.short = 0, 0
	case streamed > 0:
		r.silent = 0
		r.short++
	default:
		r.silent++
	}
	switch {
	case r.silent == maxAttempts:
		return 0, fmt.Sprintf("gave up after %d tracers", maxAttempts)
	case r.short == maxShort:
		return 0, fmt.Sprintf("gave up after %d tracers that streamed for less than %v each", maxShort, healthyAfter)
	case r.short < 2 || streamed == 0:
		return 0, ""
	}
	return min(firstPause<<(r.short-2), maxPause), ""
}
