package tracer

import (
	"context"
	"errors"
	"sync"
)

// errSuperseded ends a stream when its client has opened another.
var errSuperseded = errors.New("superseded by a newer stream")

// turn lets the newest of several go on.
type turn struct {
	mu     sync.Mutex
	number uint64
	end    context.CancelCauseFunc // of the one that goes on; nil when there is none
}

// take ends the one before. The context ends when the next one takes its turn, with errSuperseded as its cause. Call
// release when done.
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

// taken tells whether there is one.
func (t *turn) taken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end != nil
}
