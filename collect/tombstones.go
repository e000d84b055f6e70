package collect

import (
	"hash/maphash"
	"time"
)

// openMemory is how long an end is remembered that was still open when its flow was closed. It may send reports at any
// later time.
const openMemory = time.Hour

// tombstones remembers closed flows for a while, so that their late halves do not start new flows. It keeps only
// hashes: of the known halves, of the expected other half, and of the sequence numbers.
//
// Memory is bounded: each queue holds at most a fixed number of hashes of at most tombstoneBytes each. The oldest hash
// is evicted. A late half of that flow then looks like a new flow, so that its packets show twice. mayRepeat finds such
// halves.
type tombstones struct {
	seed   maphash.Seed
	byHash map[uint64]tombstone
	queues [2]queue // hashes kept for Linger, and hashes kept for openMemory
	// The latest expiry of evicted hashes, and when the newest of them was added, ns since the Unix epoch.
	evictedUntil, evictedAt int64
}

// tombstoneBytes is the maximum memory of one hash: 24 bytes in the map, twice that and its control byte while the map
// grows, and 16 in the queue, twice that while the queue grows.
const tombstoneBytes = 24*3 + 2 + 16*2

// tombstone describes a closed flow. A half that began after last is of a later conversation.
type tombstone struct {
	last  uint64 // ns since the Unix epoch
	until int64  // ns since the Unix epoch, by the viewer's clock
	queue uint8
	// side is the end of the half if the flow's roles are certain, else anySide.
	side  uint8
	clock uint32 // the clock of last, as in Source
}

// anySide is the side of a half of a flow with uncertain roles.
const anySide = 2

// queue holds hashes in the order of their expiry. It is a ring that grows up to a limit.
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

// newTombstones returns tombstones that take at most a number of bytes.
func newTombstones(bytes int) tombstones {
	t := tombstones{seed: maphash.MakeSeed(), byHash: map[uint64]tombstone{}}
	for i := range t.queues {
		t.queues[i].most = max(1, bytes/tombstoneBytes/len(t.queues))
	}
	return t
}

// Each kind of key has its own type, so that their hashes differ.
type (
	isnTombstone  struct{ pair isnPair }
	partTombstone struct{ key partKey }
	peerTombstone struct {
		proto         int32
		local, remote addrPort
	}
	// backendTombstone is any half of a backend that sees the client.
	backendTombstone struct {
		proto  int32
		client addrPort
	}
)

// addTombstone remembers a closed flow under key for linger.
func addTombstone[K isnTombstone | partTombstone | peerTombstone | backendTombstone](
	t *tombstones, key K, g tombstone, now time.Time, linger time.Duration,
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
	t.byHash[h] = g
	q.linger = linger
	q.push(queued{h, g.until})
}

// hasTombstone reports whether a half that began at start belongs to the closed flow of key. A start of 0 is unknown.
func hasTombstone[K isnTombstone | partTombstone | peerTombstone | backendTombstone](
	t *tombstones, key K, start uint64,
) bool {
	g, ok := t.byHash[hash(t, key)]
	return ok && start <= g.last
}

// findTombstone returns the tombstone of key.
func findTombstone[K isnTombstone | partTombstone | peerTombstone | backendTombstone](
	t *tombstones, key K,
) (tombstone, bool) {
	g, ok := t.byHash[hash(t, key)]
	return g, ok
}

// removeTombstone removes the tombstone of key.
func removeTombstone[K isnTombstone | partTombstone | peerTombstone | backendTombstone](t *tombstones, key K) {
	delete(t.byHash, hash(t, key))
}

func hash[K isnTombstone | partTombstone | peerTombstone | backendTombstone](t *tombstones, key K) uint64 {
	var kind byte
	switch any(key).(type) {
	case partTombstone:
		kind = 1
	case peerTombstone:
		kind = 2
	case backendTombstone:
		kind = 3
	}
	return maphash.Comparable(t.seed, struct {
		kind byte
		key  K
	}{kind, key})
}

// expire removes expired tombstones.
func (t *tombstones) expire(now time.Time) {
	at := now.UnixNano()
	for i := range t.queues {
		for q := &t.queues[i]; q.n > 0 && at > q.entries[q.head].until; {
			t.pop(q, at)
		}
	}
}

// len is the number of hashes.
func (t *tombstones) len() (n int) {
	for i := range t.queues {
		n += t.queues[i].n
	}
	return n
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

// pop removes the first of a queue, and its tombstone unless a later one has taken its place. One whose time is not
// over yet is evicted.
func (t *tombstones) pop(q *queue, now int64) {
	e := q.entries[q.head]
	if q.head++; q.head == len(q.entries) {
		q.head = 0
	}
	q.n--
	g, ok := t.byHash[e.hash]
	if !ok || g.until != e.until {
		return
	}
	delete(t.byHash, e.hash)
	if now <= e.until {
		t.evictedUntil = max(t.evictedUntil, e.until)
		t.evictedAt = max(t.evictedAt, e.until-int64(q.linger))
	}
}

// mayRepeat reports whether a half that began at start, and that matches no tombstone, may belong to an evicted flow.
func (t *tombstones) mayRepeat(start uint64, now time.Time) bool {
	return t.evictedUntil != 0 && now.UnixNano() <= t.evictedUntil && start <= uint64(t.evictedAt)
}
