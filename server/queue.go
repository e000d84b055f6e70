package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

const (
	// queueBytes and queueEvents limit the events that wait for a client.
	queueBytes  = 8 << 20
	queueEvents = 1 << 16
	// queueOverhead is the memory of an event in a queue without its encoding.
	queueOverhead = 48
	// maxLostPods limits the pods that a slow client's losses are counted by.
	maxLostPods = 256
)

// queue holds what a client has not read yet. Where it is full, events are dropped and counted: a client that reads
// slowly holds up neither the merge nor other clients.
type queue struct {
	mu       sync.Mutex
	events   [][]byte
	bytes    int
	coverage *orbit.Coverage // not sent yet
	lost     map[lossKey]uint64
	ended    bool
	wake     chan struct{}
	share    *share
	// dropped is called with the number of events that are lost.
	dropped func(events uint64)
}

type lossKey struct{ node, namespace, pod string }

func (k lossKey) compare(l lossKey) int {
	return cmp.Or(cmp.Compare(k.node, l.node), cmp.Compare(k.namespace, l.namespace), cmp.Compare(k.pod, l.pod))
}

func newQueue(share *share, dropped func(events uint64)) *queue {
	return &queue{lost: map[lossKey]uint64{}, wake: make(chan struct{}, 1), share: share, dropped: dropped}
}

// memory is what the queue holds with n more bytes of events.
func (q *queue) memory(n int) int { return q.bytes + n + (len(q.events)+1)*queueOverhead }

// add queues an event, or counts it as lost.
func (q *queue) add(ev *event.Event) {
	encoded, err := wire.Marshal(ev)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil || len(q.events) >= queueEvents || q.bytes+len(encoded) > queueBytes ||
		q.share.tryHold(partQueue, q.memory(len(encoded))) != nil {
		q.drop(ev)
		return
	}
	q.events = append(q.events, encoded)
	q.bytes += len(encoded)
	q.poke()
}

// drop counts a lost event. The lock is held.
func (q *queue) drop(ev *event.Event) {
	n := uint64(1)
	switch {
	case ev.GetNodeStatus() != nil:
		return
	case ev.GetLost() != nil:
		n = ev.GetLost().GetCount() // the loss that it reports is still one
	default:
		q.dropped(1)
	}
	key := lossKey{ev.GetNode(), ev.GetNamespace(), ev.GetPod()}
	if _, known := q.lost[key]; !known && len(q.lost) >= maxLostPods {
		key = lossKey{}
	}
	q.lost[key] += n
}

// cover sends a coverage in the next message.
func (q *queue) cover(c *orbit.Coverage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.coverage = c
	q.poke()
}

// end ends the queue: next returns what is left, and then nothing.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.poke()
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for the next message. ok is false where there is none any more.
func (q *queue) next(ctx context.Context) (wire orbit.Wire, ok bool, err error) {
	for {
		wire, ended, err := q.poll()
		if wire != nil || err != nil {
			return wire, true, err
		}
		if ended {
			return nil, false, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// poll returns the next message, nil where nothing waits.
func (q *queue) poll() (wire orbit.Wire, ended bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := q.drainLosses()
	n, bytes := 0, 0
	for n < len(q.events) && n < orbit.MaxBatchEvents && (n == 0 || bytes+len(q.events[n]) <= orbit.MaxBatchBytes) {
		bytes += len(q.events[n])
		n++
	}
	if n == 0 && len(lost) == 0 && q.coverage == nil {
		return nil, q.ended, nil
	}
	head := orbit.Answer{Coverage: q.coverage}
	wire, err = orbit.EncodeAnswer(&head, append(lost, q.events[:n]...))
	clear(q.events[:n])
	q.events = q.events[n:]
	if len(q.events) == 0 {
		q.events = nil
	}
	q.bytes -= bytes
	_ = q.share.tryHold(partQueue, q.memory(0)) // less is never too much
	q.coverage = nil
	return wire, q.ended, err
}

// drainLosses encodes the losses that were not reported. The lock is held.
func (q *queue) drainLosses() (events [][]byte) {
	if len(q.lost) == 0 {
		return nil
	}
	now := uint64(time.Now().UnixNano())
	keys := slices.SortedFunc(maps.Keys(q.lost), lossKey.compare)
	for _, key := range keys {
		ev, err := wire.Marshal(&event.Event{
			Time: now, Node: key.node, Namespace: key.namespace, Pod: key.pod,
			Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: q.lost[key]}},
		})
		if err == nil { // the names come from decoded events
			events = append(events, ev)
		}
	}
	clear(q.lost)
	return events
}
