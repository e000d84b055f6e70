package tracer

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// ofCgroup is how many events of a batch are of a cgroup.
type ofCgroup struct {
	cgroup uint64
	events uint64
}

// backlogShare is how many times the free room a cgroup may hold of the room for what the client has not got yet.
// One that floods gets three quarters of it that way, and ten leave a thirtieth to others.
const backlogShare = 3

// keptCgroups is how many cgroups are remembered of a batch.
const keptCgroups = 4

// backlog counts, by cgroup, the events that the client has not got yet: where there are many, who floods is refused
// before others are.
type backlog struct {
	filling, unread map[uint64]uint64 // of the batch being filled; of those that were not read
	last            ofCgroup          // the newest events of filling, as long as they are of one cgroup
	events          uint64            // sum of unread
	bytes           int               // of the batches that were not read, compressed
	first           uint64            // sequence of the first batch that was not read
	most            uint64            // cgroup that has most of unread, or had
}

func newBacklog() backlog {
	return backlog{filling: make(map[uint64]uint64), unread: make(map[uint64]uint64), first: 1}
}

// admits says whether there is room for another event of a cgroup, where room bytes are for all. A cgroup that has
// all that is there takes no room from others: its oldest events make way for its newest.
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

// seal gives what the batch that was filled holds, and begins the next one.
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

// done takes off a batch that was read, or is not held any more.
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

// top are the few cgroups that most of a batch is of, for when it is remembered but not held any more.
func top(of []ofCgroup) []ofCgroup {
	return slices.Clone(of[:min(len(of), keptCgroups)])
}

// missingBy splits events that a client has missed by cgroup, as far as that is known. The cause is who made most of
// them.
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
