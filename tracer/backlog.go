package tracer

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// ofCgroup is the number of a cgroup's events in a batch.
type ofCgroup struct {
	cgroup uint64
	events uint64
}

// backlogShare is the largest ratio of a cgroup's unread bytes to the free bytes of the ring. One flooding cgroup gets
// three quarters of the ring that way, and ten leave a thirtieth to others.
const backlogShare = 3

// keptCgroups is the number of cgroups that are remembered for an evicted batch.
const keptCgroups = 4

// backlog counts the unread events by cgroup. If there are many, it refuses events of flooding cgroups first.
type backlog struct {
	filling, unread map[uint64]uint64 // events of the batch being filled; events of unread batches
	last            ofCgroup          // the newest events of filling, as long as they are of one cgroup
	events          uint64            // sum of unread
	bytes           int               // compressed size of the unread batches
	first           uint64            // sequence of the first unread batch
	most            uint64            // cgroup that has most of unread, or had
}

func newBacklog() backlog {
	return backlog{filling: make(map[uint64]uint64), unread: make(map[uint64]uint64), first: 1}
}

// admits reports whether another event of a cgroup fits into a ring of room bytes. A cgroup that is alone takes no room
// from others: its oldest events make way for its newest.
func (b *backlog) admits(cgroup uint64, room int) bool {
	if b.bytes <= room/2 || cgroup == pods.NodeLevel || b.unread[cgroup] == b.events {
		return true
	}
	own := uint64(b.bytes) * b.unread[cgroup] / b.events
	return own <= backlogShare*uint64(max(room-b.bytes, 0))
}

// add counts an event of the batch being filled.
func (b *backlog) add(cgroup uint64) {
	if cgroup != b.last.cgroup {
		b.settle()
		b.last.cgroup = cgroup
	}
	b.last.events++
}

func (b *backlog) settle() {
	if b.last.events > 0 {
		b.filling[b.last.cgroup] += b.last.events
		b.last.events = 0
	}
}

// seal returns the events of the filled batch by cgroup, and begins the next batch.
func (b *backlog) seal(bytes int) (of []ofCgroup) {
	b.settle()
	for cgroup, n := range b.filling {
		of = append(of, ofCgroup{cgroup, n})
		b.events += n
		if b.unread[cgroup] += n; b.unread[cgroup] > b.unread[b.most] {
			b.most = cgroup
		}
	}
	clear(b.filling)
	b.bytes += bytes
	slices.SortFunc(of, func(a, b ofCgroup) int {
		return cmp.Or(cmp.Compare(b.events, a.events), cmp.Compare(a.cgroup, b.cgroup))
	})
	return of
}

// done removes a batch that was read or evicted.
func (b *backlog) done(sequence uint64, of []ofCgroup, bytes int) {
	if sequence < b.first {
		return
	}
	b.first = sequence + 1
	b.bytes -= bytes
	for _, o := range of {
		b.events -= o.events
		if b.unread[o.cgroup] -= o.events; b.unread[o.cgroup] == 0 {
			delete(b.unread, o.cgroup)
		}
	}
	if b.unread[b.most] == 0 {
		b.most = 0
		for cgroup, n := range b.unread {
			if n > b.unread[b.most] {
				b.most = cgroup
			}
		}
	}
}

// top returns the keptCgroups cgroups with most events of a batch, to remember after its eviction.
func top(of []ofCgroup) []ofCgroup {
	return slices.Clone(of[:min(len(of), keptCgroups)])
}

// missingBy splits the events that a client has missed by cgroup, as far as that is known. The cause is the cgroup with
// most of them.
func missingBy(by map[uint64]uint64, events uint64) (lost map[parties]uint64) {
	lost = make(map[parties]uint64, len(by)+1)
	var cause, most, known uint64
	for cgroup, n := range by {
		known += n
		if cgroup != pods.NodeLevel && (n > most || n == most && cgroup < cause) {
			cause, most = cgroup, n
		}
	}
	for cgroup, n := range by {
		if cgroup != pods.NodeLevel {
			lost[parties{cgroup, cause}] = n
		} else {
			known -= n
		}
	}
	if events > known {
		lost[parties{}] = events - known
	}
	return lost
}
