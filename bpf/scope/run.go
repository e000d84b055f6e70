package scope

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

const (
	// retention is how long a removed cgroup stays in scope: the last events of its sockets come after it is gone, up
	// to some 100 s where the peer of a connection that is being closed no longer answers. The tracer remembers names
	// for a little longer.
	retention = 110 * time.Second
	// maxRemoved bounds the removed cgroups that are kept; the oldest go first.
	maxRemoved = 4096
	// tidyInterval is how often they are checked.
	tidyInterval = time.Second
)

// Run calls f for each cgroup that is made or removed, until ctx ends. The event is f's to keep.
func (s *Scope) Run(ctx context.Context, f func(Event)) error {
	var removed removedQueue
	return s.Ring.Read(ctx, bpf.Reading{
		Interval: tidyInterval,
		Eager:    true,
		Record: func(raw []byte) error {
			ev, err := decode(raw)
			if err != nil {
				return err
			}
			ev.TimeNs = s.Clock.Wall(ev.TimeNs)
			if ev.Removed && s.contains(ev.ID) {
				removed.push(ev.ID, time.Now())
			}
			f(ev)
			return nil
		},
		Empty: func(uint64) error {
			now := time.Now()
			for {
				id, early, ok := removed.pop(now)
				if !ok {
					break
				}
				if early {
					s.early.Add(1)
				}
				if err := s.SetCgroup(id, false); err != nil {
					return err
				}
			}
			return s.Clock.Keep()
		},
	})
}

// decode reads a struct scope_event of scope.bpf.c, whose path is cut off after its closing zero.
func decode(raw []byte) (Event, error) {
	const head = 24
	if len(raw) < head {
		return Event{}, fmt.Errorf("decode scope event: %d bytes, want at least %d", len(raw), head)
	}
	n := binary.NativeEndian.Uint32(raw[20:])
	path := raw[head:]
	if uint64(n) > uint64(len(path)) {
		return Event{}, fmt.Errorf("decode scope event: path of %d bytes in %d", n, len(path))
	}
	path = bpf.Text(path[:n])
	return Event{
		ID:      binary.NativeEndian.Uint64(raw),
		TimeNs:  binary.NativeEndian.Uint64(raw[8:]),
		Removed: binary.NativeEndian.Uint32(raw[16:]) != 0,
		Path:    string(path),
	}, nil
}

// removedQueue is a queue of removed cgroups.
type removedQueue struct {
	ids  []uint64
	when []time.Time
}

func (g *removedQueue) push(id uint64, now time.Time) {
	g.ids = append(g.ids, id)
	g.when = append(g.when, now)
}

// pop removes the next cgroup whose retention is over. early: it is not, but the queue is full.
func (g *removedQueue) pop(now time.Time) (id uint64, early, ok bool) {
	if len(g.ids) == 0 {
		return 0, false, false
	}
	early = now.Sub(g.when[0]) < retention
	if early && len(g.ids) <= maxRemoved {
		return 0, false, false
	}
	id = g.ids[0]
	g.ids, g.when = g.ids[1:], g.when[1:]
	return id, early, true
}
