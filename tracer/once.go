package tracer

import "sync"

// once is an event that happens at most once. Goroutines may wait for it.
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
