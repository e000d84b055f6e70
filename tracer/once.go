package tracer

import "sync"

// once is something that happens once at most, and that others may wait for.
type once struct {
	did  sync.Once
	done chan struct{}
}

func newOnce() *once { return &once{done: make(chan struct{})} }

func (o *once) happen() { o.did.Do(func() { close(o.done) }) }

func (o *once) happened() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}
