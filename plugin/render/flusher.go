package render

import (
	"io"
	"sync"
	"time"
)

// flushBytes is how much output is gathered before it is written without waiting for FlushDelay.
const flushBytes = 64 << 10

// flusher gathers output and writes it when there is much of it, or FlushDelay after the first of it.
type flusher struct {
	mu    sync.Mutex
	out   io.Writer
	buf   []byte
	timer *time.Timer
	armed bool
	err   error
	// layout, if set, is called with the lock held before the buffer is written, to append what was held back.
	layout func(dst []byte) []byte
}

func newFlusher(out io.Writer) *flusher { return &flusher{out: out} }

// append runs fn with the lock held to append to the buffer; held is how many bytes fn has put aside for layout.
func (f *flusher) append(fn func(dst []byte) (_ []byte, held int)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	var held int
	f.buf, held = fn(f.buf)
	if len(f.buf)+held >= flushBytes {
		f.flush()
		return f.err
	}
	if !f.armed && len(f.buf)+held > 0 {
		f.armed = true
		if f.timer == nil {
			f.timer = time.AfterFunc(FlushDelay, f.idle)
		} else {
			f.timer.Reset(FlushDelay)
		}
	}
	return nil
}

// idle is the timer's call.
func (f *flusher) idle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.armed {
		f.flush()
	}
}

// flush writes the buffer. The lock is held.
func (f *flusher) flush() {
	if f.armed {
		f.armed = false
		f.timer.Stop()
	}
	if f.layout != nil {
		f.buf = f.layout(f.buf)
	}
	if len(f.buf) == 0 || f.err != nil {
		return
	}
	if _, err := f.out.Write(f.buf); err != nil {
		if isBroken(err) {
			f.err = ErrClosed
		} else {
			f.err = err
		}
	}
	f.buf = f.buf[:0]
}

// Close writes what is left. No timer runs afterwards.
func (f *flusher) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flush()
	return f.err
}
