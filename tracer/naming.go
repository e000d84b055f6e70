package tracer

import (
	"bytes"
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
	"github.com/orb8-dev/kubectl-orb8/internal/budget"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

const (
	// nameTimeout is how long an event waits for its container's name.
	nameTimeout = 2 * time.Second
	// waitingBytes limits the memory of waiting events. Beyond it, the oldest event of the largest cgroup is sent
	// without its full name.
	waitingBytes = 8 << 20
	// waiterOverhead is the memory of a waiting event besides its encoding, bytes.
	waiterOverhead = int64(unsafe.Sizeof(waiter{}) + 2*unsafe.Sizeof(&waiter{}))
	// spareWaiters is how many more evicted than live waiters the queue may hold.
	spareWaiters = 1024
)

// namer is the part of pods.Resolver that naming uses.
type namer interface {
	Identify(cgroup uint64) (*pods.Identity, pods.Status)
	GiveUp(cgroup uint64)
}

// naming adds names to events on their way from the sources to the outbox. It drops events outside the targets. An
// event without a name waits for nameTimeout at most, and later events of its cgroup wait behind it.
type naming struct {
	node   string
	namer  namer
	out    output
	losses *ledger
	// opened is called when an event opens a new batch, or is the first to wait. It must not block.
	opened func()

	mu      sync.Mutex
	waiting []*waiter      // oldest first; evicted ones have no event
	of      map[uint64]int // number of waiting events by cgroup
	live    int            // number of waiting events
	bytes   *budget.Account[*waiter]
}

type waiter struct {
	charged budget.Entry[*waiter]
	cgroup  uint64
	since   time.Time
	time    uint64 // the event's own
	event   []byte // encoded, without names
}

func newNaming(node string, namer namer, out output, losses *ledger, opened func()) *naming {
	n := &naming{node: node, namer: namer, out: out, losses: losses, opened: opened, of: make(map[uint64]int)}
	n.bytes = budget.New(waitingBytes, n.overflow)
	return n
}

// sink returns the sink of one source.
func (n *naming) sink(source string) Sink {
	var buffer []byte
	return func(cgroup uint64, ev *event.Event) {
		var identity *pods.Identity
		status := pods.Named
		if cgroup == pods.NodeLevel {
			ev.Node = n.node
		} else if identity, status = n.namer.Identify(cgroup); status == pods.Foreign {
			return
		}
		var err error
		if buffer, err = wire.Append(buffer[:0], ev); err != nil {
			// A string from a process is not UTF-8, as protobuf requires, and the source has not replaced it.
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
		n.wait(cgroup, ev.GetTime(), buffer)
	}
}

// wait queues an event until its name is known. The caller holds mu.
func (n *naming) wait(cgroup, eventTime uint64, encoded []byte) {
	if len(n.waiting) > 2*n.live+spareWaiters {
		n.waiting = slices.DeleteFunc(n.waiting, func(w *waiter) bool { return w.event == nil })
	}
	w := &waiter{cgroup: cgroup, since: time.Now(), time: eventTime, event: bytes.Clone(encoded)}
	n.waiting = append(n.waiting, w)
	n.of[cgroup]++
	if n.live++; n.live == 1 {
		n.opened()
	}
	n.bytes.Add(&w.charged, cgroup, waiterOverhead+int64(cap(w.event)), w)
}

// sweep sends the waiting events that have a name now or have waited for nameTimeout; all of them when the tracer ends.
// It returns the time of the oldest event that still waits, ns since the Unix epoch, or math.MaxUint64.
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

// settle is sweep for callers that hold mu.
func (n *naming) settle(now time.Time, all bool) {
	kept := n.waiting[:0]
	for _, w := range n.waiting {
		if w.event == nil {
			continue
		}
		identity, status := n.namer.Identify(w.cgroup)
		late := all || now.Sub(w.since) >= nameTimeout
		switch {
		case status == pods.Named:
			n.send(w.cgroup, w.event, identity)
		case status == pods.Unnamed && late:
			n.namer.GiveUp(w.cgroup)
			n.send(w.cgroup, w.event, identity)
		case status == pods.Unknown && late:
			// Its owner is unknown, and may be on another node.
			n.lost(0)
		case status == pods.Foreign:
		default:
			kept = append(kept, w)
			continue
		}
		n.gone(w)
	}
	clear(n.waiting[len(kept):])
	n.waiting = kept
}

// overflow sends an evicted event with the names that are known. The caller holds mu.
func (n *naming) overflow(cgroup uint64, w *waiter) {
	n.lost(cgroup)
	if identity, _ := n.namer.Identify(cgroup); identity != nil {
		n.send(cgroup, w.event, identity)
	}
	n.gone(w)
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

// lost counts an event of a cgroup; 0: unknown.
func (n *naming) lost(cgroup uint64) {
	n.losses.addOf(where{stage: event.LossStage_LOSS_STAGE_NAMING}, parties{cgroup, 0}, 1)
}

// gone removes an event from the counters. The waiter stays in the queue without its event.
func (n *naming) gone(w *waiter) {
	w.charged.Remove()
	w.event = nil
	n.live--
	if n.of[w.cgroup]--; n.of[w.cgroup] == 0 {
		delete(n.of, w.cgroup)
	}
}
