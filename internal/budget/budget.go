// Package budget divides one limit of bytes among cgroups: when a table is full, the cgroup that holds most loses its
// oldest entry. A cgroup that holds less than its equal share of the limit therefore never loses one.
package budget

import "container/heap"

// Account tracks the bytes of a table's entries against its limit. It is not safe for concurrent use. Below the limit a
// change costs one addition; at the limit it costs O(log n) for n cgroups.
type Account[T any] struct {
	limit, used int64
	holders     map[uint64]*holder[T]
	// ranks is a heap of the holders, most bytes first, while ranked. It is built when the limit is reached first, and
	// kept until the table is half empty.
	ranks  ranks[T]
	ranked bool
	evict  func(owner uint64, value T)
	// spare is a holder that was emptied: a cgroup with few entries comes and goes.
	spare *holder[T]
	// last is the holder that was charged last.
	last *holder[T]
}

// Entry is an element of a table. It is embedded into the element, so that an entry costs no allocation. Its zero value
// is held by no account.
type Entry[T any] struct {
	value      T
	size       int64
	holder     *holder[T]
	prev, next *Entry[T] // of the holder, by age
}

// holder is a cgroup with its entries.
type holder[T any] struct {
	account        *Account[T]
	owner          uint64
	size           int64
	oldest, newest *Entry[T]
	rank           int // index in ranks
}

// New makes an account of a limit in bytes. evict removes a value from the table. Its entry has left the account by
// then, and evict must not change the account.
func New[T any](limit int64, evict func(owner uint64, value T)) *Account[T] {
	return &Account[T]{limit: limit, holders: make(map[uint64]*holder[T]), evict: evict}
}

// Add charges a new entry to its owner, a cgroup id. Where that exceeds the limit it evicts entries, which may be the
// new one.
func (a *Account[T]) Add(e *Entry[T], owner uint64, size int64, value T) {
	h := a.last
	if h == nil || h.owner != owner {
		if h = a.holders[owner]; h == nil {
			h = a.hold(owner)
		}
		a.last = h
	}
	e.value, e.holder, e.prev = value, h, h.newest
	if h.newest == nil {
		h.oldest = e
	} else {
		h.newest.next = e
	}
	h.newest = e
	e.Resize(size)
}

// hold makes the holder of an owner that has none.
func (a *Account[T]) hold(owner uint64) *holder[T] {
	h := a.spare
	if a.spare = nil; h == nil {
		h = &holder[T]{account: a}
	}
	h.owner = owner
	a.holders[owner] = h
	if a.ranked {
		heap.Push(&a.ranks, h)
	}
	return h
}

// Resize changes what an entry takes. Where that exceeds the limit it evicts entries, which may be this one. An entry
// that is not held is left alone.
func (e *Entry[T]) Resize(size int64) {
	if e.holder == nil || e.size == size {
		return
	}
	a := e.holder.account
	a.change(e.holder, size-e.size)
	e.size = size
	for a.used > a.limit {
		a.evictOldest()
	}
}

// Remove gives back what an entry takes. An entry that is not held is left alone.
func (e *Entry[T]) Remove() {
	h := e.holder
	if h == nil {
		return
	}
	a := h.account
	if e.prev == nil {
		h.oldest = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		h.newest = e.prev
	} else {
		e.next.prev = e.prev
	}
	a.change(h, -e.size)
	if h.oldest == nil {
		delete(a.holders, h.owner)
		if a.ranked {
			heap.Remove(&a.ranks, h.rank)
		}
		a.spare = h
		if a.last == h {
			a.last = nil
		}
	}
	*e = Entry[T]{}
	if a.ranked && a.used < a.limit/2 {
		a.ranked = false
		clear(a.ranks)
		a.ranks = a.ranks[:0]
	}
}

func (a *Account[T]) change(h *holder[T], by int64) {
	a.used += by
	h.size += by
	if a.ranked {
		heap.Fix(&a.ranks, h.rank)
	}
}

// evictOldest evicts the oldest entry of the owner that holds most.
func (a *Account[T]) evictOldest() {
	if !a.ranked {
		a.ranks = a.ranks[:0]
		for _, h := range a.holders {
			h.rank = len(a.ranks)
			a.ranks = append(a.ranks, h)
		}
		heap.Init(&a.ranks)
		a.ranked = true
	}
	most := a.ranks[0]
	e := most.oldest
	owner, value := most.owner, e.value
	e.Remove()
	a.evict(owner, value)
}

// Held reports whether an account holds the entry.
func (e *Entry[T]) Held() bool { return e.holder != nil }

// Used is how many bytes all entries take.
func (a *Account[T]) Used() int64 { return a.used }

// Of is how many bytes the entries of an owner take.
func (a *Account[T]) Of(owner uint64) int64 {
	if h := a.holders[owner]; h != nil {
		return h.size
	}
	return 0
}

// ranks is a heap.Interface.
type ranks[T any] []*holder[T]

func (r ranks[T]) Len() int           { return len(r) }
func (r ranks[T]) Less(i, j int) bool { return r[i].size > r[j].size }
func (r ranks[T]) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].rank, r[j].rank = i, j
}

func (r *ranks[T]) Push(x any) {
	h := x.(*holder[T])
	h.rank = len(*r)
	*r = append(*r, h)
}

func (r *ranks[T]) Pop() any {
	last := len(*r) - 1
	h := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return h
}
