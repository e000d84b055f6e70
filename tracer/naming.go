package tracer

import (
	"math"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
	"google.golang.org/protobuf/proto"
)

const (
	// patience is how long an event waits for its container's name.
	patience = 2 * time.Second
	// waitingRoom is how many events wait at a time.
	waitingRoom = 8192
)

// namer is what naming needs of pods.Resolver.
type namer interface {
	Identify(cgroup uint64) (*pods.Identity, pods.Status)
	GiveUp(cgroup uint64)
}

// naming puts names to events on their way from the sources to the outbox. What nobody asked for ends here. What has no name
// yet waits a while, and later events of its cgroup behind it.
type naming struct {
	namer  namer
	out    *outbox
	losses *ledger
	// opened is called when an event opens a new batch, or is the first to wait. It must not block.
	opened func()

	mu      sync.Mutex
	waiting []waiter       // oldest first
	of      map[uint64]int // how many of them are of a cgroup
}

type waiter struct {
	cgroup uint64
	since  time.Time
	time   uint64 // the event's own
	event  []byte // encoded, without names
}

func newNaming(namer namer, out *outbox, losses *ledger, opened func()) *naming {
	return &naming{namer: namer, out: out, losses: losses, opened: opened, of: make(map[uint64]int)}
}

// sink makes the sink of one source.
func (n *naming) sink(source string) Sink {
	var buffer []byte
	return func(cgroup uint64, ev *event.Event) {
		var identity *pods.Identity
		status := pods.Named
		if cgroup == pods.NodeLevel {
			ev.Node = n.out.node
		} else if identity, status = n.namer.Identify(cgroup); status == pods.Foreign {
			return
		}
		var err error
		if buffer, err = (proto.MarshalOptions{}).MarshalAppend(buffer[:0], ev); err != nil {
			// A name from a process that is not UTF-8, which protobuf does not carry, and the source let pass.
			n.losses.add(where{event.LossStage_LOSS_STAGE_DECODE, source}, 1)
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if status == pods.Named && n.of[cgroup] > 0 {
			n.settle(time.Now(), false)
		}
		if status == pods.Named && n.of[cgroup] == 0 {
			n.send(cgroup, buffer, identity)
			return
		}
		if len(n.waiting) == waitingRoom {
			n.overflow()
		}
		n.waiting = append(n.waiting, waiter{cgroup, time.Now(), ev.GetTime(), append([]byte(nil), buffer...)})
		n.of[cgroup]++
		if len(n.waiting) == 1 {
			n.opened()
		}
	}
}

// sweep sends on the waiting events that have a name now or have waited long enough; all of them when the tracer ends. It
// returns the time of the oldest event that goes on waiting, in ns since the Unix epoch; without one, the largest number.
func (n *naming) sweep(now time.Time, all bool) (oldest uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settle(now, all)
	oldest = math.MaxUint64
	for _, w := range n.waiting {
		oldest = min(oldest, w.time)
	}
	return oldest
}

// settle is sweep for those who hold mu.
func (n *naming) settle(now time.Time, all bool) {
	kept := n.waiting[:0]
	for _, w := range n.waiting {
		identity, status := n.namer.Identify(w.cgroup)
		late := all || now.Sub(w.since) >= patience
		switch {
		case status == pods.Named:
			n.send(w.cgroup, w.event, identity)
		case status == pods.Unnamed && late:
			n.namer.GiveUp(w.cgroup)
			n.send(w.cgroup, w.event, identity)
		case status == pods.Unknown && late:
			// Whose it was cannot be told, and it may be another node's.
			n.lost()
		case status == pods.Foreign:
		default:
			kept = append(kept, w)
			continue
		}
		n.gone(w.cgroup)
	}
	clear(n.waiting[len(kept):])
	n.waiting = kept
}

// overflow has the event that has waited longest go on as it is. The caller holds mu.
func (n *naming) overflow() {
	w := n.waiting[0]
	n.waiting[0] = waiter{}
	n.waiting = n.waiting[1:]
	n.gone(w.cgroup)
	n.lost()
	if identity, _ := n.namer.Identify(w.cgroup); identity != nil {
		n.send(w.cgroup, w.event, identity)
	}
}

func (n *naming) send(cgroup uint64, ev []byte, identity *pods.Identity) {
	var names []byte
	if identity != nil {
		names = identity.Wire
	}
	if n.out.add(cgroup, ev, names) {
		n.opened()
	}
}

func (n *naming) lost() { n.losses.add(where{stage: event.LossStage_LOSS_STAGE_NAMING}, 1) }

func (n *naming) gone(cgroup uint64) {
	if n.of[cgroup]--; n.of[cgroup] == 0 {
		delete(n.of, cgroup)
	}
}
