package collect

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/check"
)

// ErrEnded reports that Run has ended, so that Feed accepts no batches.
var ErrEnded = errors.New("merge has ended")

// Source is the stream of one node. Its methods may be called from any goroutine; batches in their order.
type Source struct {
	c    *Collector
	node string

	// Guarded by the Collector's lock.
	open      bool
	instance  uint64
	next      uint64 // sequence expected next; 0: the first batch decides
	watermark uint64
	kernel    string
	clock     uint32    // the same for sources on one kernel
	heard     time.Time // when the last watermark arrived
	checker   *check.Checker
	refused   bool // an event of the node was refused
	pods      shared[podNames]
}

// Add adds a node to the merge. A node whose tracer was replaced is added a second time, and continues.
func (c *Collector) Add(node string) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[node]
	if s == nil {
		s = &Source{c: c, node: node, checker: check.Stream(c.o.Kinds, c.o.Started), clock: c.clock(""),
			pods: newShared[podNames](maxPodNames)}
		c.sources[node] = s
	}
	s.open = true
	return s
}

// Node returns the name of the node.
func (s *Source) Node() string { return s.node }

// Open makes the merge wait for the node's events again, after Close.
func (s *Source) Open() {
	s.c.mu.Lock()
	s.open = true
	s.c.mu.Unlock()
}

// Close pauses the node: the merge does not wait for its events until Open or the next Add.
func (s *Source) Close() {
	s.c.mu.Lock()
	s.open = false
	s.c.mu.Unlock()
	s.c.poke()
}

// Feed accepts a batch of the node. It blocks while too many events wait to be emitted, until ctx ends; its error is
// ctx's, or ErrEnded.
func (s *Source) Feed(ctx context.Context, b Batch) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	c := s.c
	defer c.poke()
	defer c.mu.Unlock()
	if !s.accept(&b) {
		return nil
	}
	now := time.Now()
	newest := b.Watermark
	if s.kernel != b.Kernel {
		s.kernel, s.clock = b.Kernel, c.clock(b.Kernel)
	}
	s.checker.At(now)
	for _, ev := range b.Events {
		if !s.check(ev) {
			continue
		}
		if b.Watermark == 0 {
			newest = max(newest, ev.GetTime())
		}
		c.take(s, ev, now)
	}
	if newest > s.watermark {
		s.watermark = newest
	}
	s.heard = now
	c.account()
	return nil
}

// check reports whether an event of the node may be used. The lock is held.
func (s *Source) check(ev *event.Event) bool {
	ev.Node = s.node // a tracer speaks for its own node only
	err := s.checker.Check(ev)
	if err != nil {
		s.refuse(err)
	}
	return err == nil
}

// refuse counts a refused event, and reports the reason for the node's first one. The lock is held.
func (s *Source) refuse(why *check.Error) {
	s.c.loss.add(s.node, event.LossStage_LOSS_STAGE_DECODE, 1)
	if !s.refused && s.c.o.Refused != nil {
		s.c.o.Refused(s.node, why)
	}
	s.refused = true
}

// Status puts a NodeStatus event of the node into the stream. It blocks as Feed does.
func (s *Source) Status(ctx context.Context, st *event.NodeStatus) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	c := s.c
	now := time.Now()
	c.push(&event.Event{
		Time: uint64(now.UnixNano()), Node: s.node, Kind: &event.Event_NodeStatus{NodeStatus: st},
	}, now)
	c.mu.Unlock()
	c.poke()
	return nil
}

// wait takes the Collector's lock once there is room.
func (s *Source) wait(ctx context.Context) error {
	c := s.c
	for {
		c.mu.Lock()
		if c.cut {
			c.mu.Unlock()
			return ErrEnded
		}
		if c.hasRoom() {
			return nil
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-c.ended:
			return ErrEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// accept drops a repeated batch and counts the batches that are missing before a new one.
func (s *Source) accept(b *Batch) bool {
	if b.Sequence == 0 {
		return true
	}
	if b.Instance != s.instance || s.next == 0 {
		s.instance, s.next = b.Instance, 1
	}
	if b.Sequence < s.next {
		return false
	}
	if missing := b.Sequence - s.next; missing > 0 && !b.GapSummary {
		// The number of events in the missing batches is unknown: at least one each.
		s.c.loss.add(s.node, event.LossStage_LOSS_STAGE_STREAM_GAP, missing)
	}
	s.next = b.Sequence + 1
	return true
}

// promised returns the time before which no node will send an event. Nodes that have been silent for MaxDelay do not
// count, nor those that are further than that behind most: their events are out of order however long others wait.
func (c *Collector) promised(now time.Time) uint64 {
	if c.o.Recorded {
		return math.MaxUint64
	}
	least := uint64(math.MaxUint64)
	for _, s := range c.sources {
		if s.open && now.Sub(s.heard) < c.o.MaxDelay && s.watermark+uint64(c.o.MaxDelay) >= c.typical {
			least = min(least, s.watermark)
		}
	}
	return least
}

// take processes one event of a node. The lock is held.
func (c *Collector) take(s *Source, ev *event.Event, now time.Time) {
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		if k.Flow == nil {
			return
		}
		c.half(s, ev, k.Flow, now)
	case *event.Event_Lost:
		c.loss.total.Add(losses.Of(ev))
		c.push(ev, now)
	case nil:
		// This version does not know the kind and cannot show it: it counts as lost.
		c.loss.add(ev.GetNode(), event.LossStage_LOSS_STAGE_DECODE, 1)
	case *event.Event_Dns:
		c.query(s, ev, k.Dns, now)
	case *event.Event_Drop:
		if far := c.nameEnds(ev); !c.twice(s, k.Drop, far) {
			c.push(ev, now)
		}
	default:
		c.nameEnds(ev)
		c.push(ev, now)
	}
}

// twice reports whether another node reports the same drop. Nodes that share a kernel see each other's packets: of two
// observed pods on two such nodes, the receiver's node reports.
func (c *Collector) twice(s *Source, d *event.Drop, far Name) bool {
	if d.GetObserved() != event.Side_SIDE_SRC || !far.Observed || far.Pod == "" || far.Node == s.node ||
		s.kernel == "" {
		return false
	}
	other := c.sources[far.Node]
	return other != nil && other.open && other.kernel == s.kernel
}

// nameEnds fills in the ends of an event that is not joined: the observed end is the event's own pod, the other gets
// the names of its address, which are returned.
func (c *Collector) nameEnds(ev *event.Event) (n Name) {
	ends := event.EndsOf(ev)
	own, far := ends.GetSrc(), ends.GetDst()
	if ends.GetObserved() == event.Side_SIDE_DST {
		own, far = far, own
	}
	if own != nil {
		own.Namespace, own.Pod, own.PodUid, own.Node = ev.GetNamespace(), ev.GetPod(), ev.GetPodUid(), ev.GetNode()
		own.Container, own.Workload = ev.GetContainer(), ev.GetWorkload()
	}
	if len(far.GetAddress()) == 0 {
		return n
	}
	if newAddrPort(far).isLoopback() && c.ownNetwork(ev.GetPodUid()) {
		// Loopback stays in the pod, but may reach another of its containers.
		far.Namespace, far.Pod, far.PodUid, far.Node = ev.GetNamespace(), ev.GetPod(), ev.GetPodUid(), ev.GetNode()
		far.Workload = ev.GetWorkload()
		return n
	}
	n = c.nameAt(newAddrPort(far), ends.GetProtocol(), ev.GetTime())
	far.Namespace, far.Pod, far.PodUid, far.Workload, far.Node = n.Namespace, n.Pod, n.PodUID, n.Workload, n.Node
	far.Service, far.ServiceNamespace, far.Host = n.Service, n.ServiceNamespace, n.Host
	if n.Service != "" {
		far.ServiceAddress, far.ServicePort = far.GetAddress(), far.GetPort()
	} else {
		n.Hint.describe(far, far.GetAddress())
	}
	return n
}

func (c *Collector) ownNetwork(podUID string) bool {
	networks, ok := c.o.Namer.(Networks)
	return ok && podUID != "" && networks.OwnNetwork(podUID)
}

// push puts an event that needs no joining into the order.
func (c *Collector) push(ev *event.Event, now time.Time) {
	c.enqueue(&item{ev: ev, time: ev.GetTime(), key: c.key(ev.GetTime(), now), arrived: c.at(now), due: c.at(now),
		bytes: bytesOf(ev)})
}
