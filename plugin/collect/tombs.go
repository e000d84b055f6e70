package collect

import (
	"hash/maphash"
	"time"
)

// openMemory is how long an end is remembered that was open when its flow was closed without it: it may speak, or close, at
// any time later.
const openMemory = time.Hour

// tombs remembers closed flows for a while, so that late halves of them are not taken for new flows. Of a flow only hashes
// are kept: of the halves that were known, of what the other half would look like, of the sequence numbers.
type tombs struct {
	seed   maphash.Seed
	graves map[uint64]grave
	queues [2]queue // what is kept for Linger, and what for openMemory
	most   int
}

// grave tells what was buried. A half that began after last is of a later conversation.
type grave struct {
	last  uint64 // ns since the Unix epoch
	until time.Time
}

// queue holds hashes in the order of their ends.
type queue struct {
	entries []queued
	head    int
}

type queued struct {
	hash  uint64
	until time.Time
}

func newTombs(most int) tombs {
	return tombs{seed: maphash.MakeSeed(), graves: map[uint64]grave{}, most: most}
}

// What is hashed has a type of its own, so that the hashes of different kinds differ.
type (
	isnTomb  struct{ pair isnPair }
	partTomb struct{ key partKey }
	peerTomb struct {
		proto         int32
		local, remote addrPort
	}
	// backendTomb is any half of a backend that sees the client.
	backendTomb struct {
		proto  int32
		client addrPort
	}
)

func bury[K isnTomb | partTomb | peerTomb | backendTomb](t *tombs, key K, last uint64, now time.Time, linger time.Duration) {
	long := 0
	if linger >= openMemory {
		long = 1
	}
	h, until := hash(t, key), now.Add(linger)
	t.graves[h] = grave{last: last, until: until}
	t.queues[long].entries = append(t.queues[long].entries, queued{h, until})
	for len(t.graves) > t.most {
		q := &t.queues[1]
		if q.len() == 0 {
			q = &t.queues[0]
		}
		t.pop(q)
	}
}

// buried reports whether a half that began at start is of what was buried under key. A start of 0 is not known.
func buried[K isnTomb | partTomb | peerTomb | backendTomb](t *tombs, key K, start uint64) bool {
	g, ok := t.graves[hash(t, key)]
	return ok && start <= g.last
}

func unbury[K isnTomb | partTomb | peerTomb | backendTomb](t *tombs, key K) {
	delete(t.graves, hash(t, key))
}

func hash[K isnTomb | partTomb | peerTomb | backendTomb](t *tombs, key K) uint64 {
	var kind byte
	switch any(key).(type) {
	case partTomb:
		kind = 1
	case peerTomb:
		kind = 2
	case backendTomb:
		kind = 3
	}
	return maphash.Comparable(t.seed, struct {
		kind byte
		key  K
	}{kind, key})
}

// expire forgets what is over for long enough.
func (t *tombs) expire(now time.Time) {
	for i := range t.queues {
		for q := &t.queues[i]; q.len() > 0 && now.After(q.entries[q.head].until); {
			t.pop(q)
		}
	}
}

func (q *queue) len() int { return len(q.entries) - q.head }

// pop takes the first of a queue, and its grave unless that was dug again later.
func (t *tombs) pop(q *queue) {
	e := q.entries[q.head]
	if q.head++; q.head > 1024 && q.head > len(q.entries)/2 {
		q.entries = append(q.entries[:0], q.entries[q.head:]...)
		q.head = 0
	}
	if g, ok := t.graves[e.hash]; ok && !g.until.After(e.until) {
		delete(t.graves, e.hash)
	}
}
