package forward

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

// maxAge is how old a connection may be that was made ahead: API servers and load balancers close those that stay
// silent.
const maxAge = 10 * time.Second

// pool holds connections that are made ahead of their use, by a key. Those that are not acquired within maxAge are
// closed.
type pool struct {
	mu     sync.Mutex
	closed bool
	held   map[string][]*spare
	work   sync.WaitGroup
}

// spare is one of them. made gets it, or nil if it could not be made.
type spare struct {
	made   chan io.Closer
	expiry *time.Timer
}

// begin begins to make one. create returns nil if it cannot.
func (p *pool) begin(key string, create func() io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	s := &spare{made: make(chan io.Closer, 1)}
	s.expiry = time.AfterFunc(maxAge, func() { p.expire(key, s) })
	if p.held == nil {
		p.held = map[string][]*spare{}
	}
	p.held[key] = append(p.held[key], s)
	p.work.Go(func() { s.made <- create() })
}

// expire closes one that nobody has acquired.
func (p *pool) expire(key string, s *spare) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.held[key], s); i >= 0 {
		p.held[key] = slices.Delete(p.held[key], i, i+1)
		p.work.Go(s.discard)
	}
}

// discard closes one that nobody uses, once it is made.
func (s *spare) discard() {
	if c := <-s.made; c != nil {
		_ = c.Close()
	}
}

// acquire returns the oldest one of a key, for which it waits until ctx ends; nil: there is none.
func (p *pool) acquire(ctx context.Context, key string) io.Closer {
	s := p.first(key)
	if s == nil {
		return nil
	}
	select {
	case c := <-s.made:
		return c
	case <-ctx.Done():
		p.work.Go(s.discard)
		return nil
	}
}

// first removes the oldest one of a key; nil: there is none.
func (p *pool) first(key string) *spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.held[key]
	if len(all) == 0 {
		return nil
	}
	all[0].expiry.Stop()
	p.held[key] = all[1:]
	return all[0]
}

// close closes what is left, and waits for it.
func (p *pool) close() {
	p.mu.Lock()
	left := p.held
	p.closed, p.held = true, nil
	p.mu.Unlock()
	for _, all := range left {
		for _, s := range all {
			s.expiry.Stop()
			s.discard()
		}
	}
	p.work.Wait()
}
