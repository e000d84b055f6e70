package tracer

import (
	"context"
	"errors"
	"sync"
)

// errSuperseded ends a stream when its client has opened another.
var errSuperseded = errors.New("superseded by a newer stream")

// turn lets only the newest of several streams run.
type turn struct {
	mu     sync.Mutex
	number uint64
	end    context.CancelCauseFunc // cancels the running stream; nil if there is none
}

// take ends the running stream and starts a new one. The returned context ends at the next take, with errSuperseded as
// its cause. Call release at the end of the stream.
func (t *turn) take(parent context.Context) (ctx context.Context, release func()) {
	ctx, end := context.WithCancelCause(parent)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end != nil {
		t.end(errSuperseded)
	}
	t.number++
	number := t.number
	t.end = end
	return ctx, func() {
		end(context.Canceled)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.number == number {
			t.end = nil
		}
	}
}

// taken reports whether a stream runs.
func (t *turn) taken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end != nil
}
