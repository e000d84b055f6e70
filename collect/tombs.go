package collect

import (
	"hash/maphash"
	"time"
)

// openMemory is how long an end is remembered that was open when its flow was closed without it: it may speak, or
// close, at any time later.
const openMemory = time.Hour

// tombs remembers closed flows for a while, so that late halves of them are not taken for new flows. Of a flow only
// hashes are kept: of the halves that were known, of what the other half would look like, of the sequence numbers.
//
// Memory is bounded: each queue holds at most a fixed number of hashes, and a hash takes tombBytes at most. The
// oldest hash is evicted. Then a late half of that flow looks like a flow of its own, so that its packets show twice.
// mayRepeat finds the halves of which that is possible.
type tombs struct {
	seed   maphash.Seed
	graves map[uint64]grave
	queues [2]queue // what is kept for Linger, and what for openMemory
	// Until when an evicted hash would have been kept, and when the newest of them was buried, ns since the Unix epoch.
	evictedUntil, evictedAt int64
}

// tombBytes is the memory of one hash at most: 24 bytes in the map, twice that and its control byte while the map
// grows, and 16 in the queue, twice that while the queue grows.
const tombBytes = 24*3 + 2 + 16*2

// grave tells what was buried. A half that began after last is of a later conversation.
type grave struct {
	last  uint64 // ns since the Unix epoch
	until int64  // ns since the Unix epoch, by the viewer's clock
	queue uint8
	// side is the end that the half would be, where the flow's roles are certain.
	side  uint8
	clock uint32 // that last was read from, as in Source
}

// anySide says that the roles of a flow are not certain.
const anySide = 2

// queue holds hashes in the order of their ends. It is a ring that grows up to a limit.
type queue struct {
	entries []queued
	head, n int
	most    int
	linger  time.Duration // of the newest entry
}

type queued struct {
	hash  uint64
	until int64
}

// newTombs makes tombs that take at most a number of bytes.
func newTombs(bytes int) tombs {
	t := tombs{seed: maphash.MakeSeed(), graves: map[uint64]grave{}}
	for i := range t.queues {
		t.queues[i].most = max(1, bytes/tombBytes/len(t.queues))
	}
	return t
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

func bury[K isnTomb | partTomb | peerTomb | backendTomb](
	t *tombs, key K, g grave, now time.Time, linger time.Duration,
) {
	if linger >= openMemory {
		g.queue = 1
	}
	q := &t.queues[g.queue]
	if q.n == q.most {
		t.pop(q, now.UnixNano())
	}
	h := hash(t, key)
	g.until = now.Add(linger).UnixNano()
	t.graves[h] = g
	q.linger = linger
	q.push(queued{h, g.until})
}

// buried reports whether a half that began at start is of what was buried under key. A start of 0 is not known.
func buried[K isnTomb | partTomb | peerTomb | backendTomb](t *tombs, key K, start uint64) bool {
	g, ok := t.graves[hash(t, key)]
	return ok && start <= g.last
}

// find returns what was buried under key.
func find[K isnTomb | partTomb | peerTomb | backendTomb](t *tombs, key K) (grave, bool) {
	g, ok := t.graves[hash(t, key)]
	return g, ok
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
	at := now.UnixNano()
	for i := range t.queues {
		for q := &t.queues[i]; q.n > 0 && at > q.entries[q.head].until; {
			t.pop(q, at)
		}
	}
}

func (q *queue) push(e queued) {
	if q.n == len(q.entries) {
		grown := make([]queued, min(max(64, 2*len(q.entries)), q.most))
		n := copy(grown, q.entries[q.head:])
		copy(grown[n:], q.entries[:q.head])
		q.entries, q.head = grown, 0
	}
	at := q.head + q.n
	if at >= len(q.entries) {
		at -= len(q.entries)
	}
	q.entries[at] = e
	q.n++
}

// pop takes the first of a queue, and its grave unless that was dug again later. One that is not over yet is evicted.
func (t *tombs) pop(q *queue, now int64) {
	e := q.entries[q.head]
	if q.head++; q.head == len(q.entries) {
		q.head = 0
	}
	q.n--
	g, ok := t.graves[e.hash]
	if !ok || g.until != e.until {
		return
	}
	delete(t.graves, e.hash)
	if now <= e.until {
		t.evictedUntil = max(t.evictedUntil, e.until)
		t.evictedAt = max(t.evictedAt, e.until-int64(q.linger))
	}
}

// mayRepeat reports whether a half that began at start, and that nothing remembered matches, may be of a flow that was
// evicted.
func (t *tombs) mayRepeat(start uint64, now time.Time) bool {
	return t.evictedUntil != 0 && now.UnixNano() <= t.evictedUntil && start <= uint64(t.evictedAt)
}
