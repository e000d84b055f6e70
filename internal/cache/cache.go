// Package cache holds answers for a time, within a bound.
package cache

import (
	"sync"
	"time"
)

// Cache holds values until their time is over. At its bound an arbitrary one makes place for a new one. It is safe for
// concurrent use.
type Cache[K comparable, V any] struct {
	max int

	mu      sync.Mutex
	entries map[K]entry[V]
}

type entry[V any] struct {
	value V
	until time.Time
}

// New returns a Cache of at most max values.
func New[K comparable, V any](max int) *Cache[K, V] {
	return &Cache[K, V]{max: max, entries: map[K]entry[V]{}}
}

// Get returns a value whose time is not over.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.get(key)
}

func (c *Cache[K, V]) get(key K) (value V, ok bool) {
	e, ok := c.entries[key]
	if ok && !time.Now().Before(e.until) {
		delete(c.entries, key)
		return value, false
	}
	return e.value, ok
}

// Put holds a value for a time.
func (c *Cache[K, V]) Put(key K, value V, life time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(key, value, life)
}

func (c *Cache[K, V]) put(key K, value V, life time.Duration) {
	if _, ok := c.entries[key]; !ok && len(c.entries) >= c.max {
		for k := range c.entries {
			delete(c.entries, k)
			break
		}
	}
	c.entries[key] = entry[V]{value, time.Now().Add(life)}
}

// GetOrPut returns the value of a key, and makes it where there is none. It is held for life from now on.
func (c *Cache[K, V]) GetOrPut(key K, life time.Duration, make func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.get(key)
	if !ok {
		value = make()
	}
	c.put(key, value, life)
	return value
}

// Delete removes a value.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}

// Len is the number of values held, those whose time is over included.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
