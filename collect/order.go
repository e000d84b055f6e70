package collect

import (
	"container/heap"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// item waits to be emitted: an event that needs no joining, or the current state of a flow.
type item struct {
	ev   *event.Event
	flow *flow

	time    uint64 // time of the event by its node's clock, ns since the Unix epoch
	key     uint64 // its place in the order: time, but not later than its arrival, where a clock is ahead
	arrived instant
	due     instant // before it the item waits for a second half
	bytes   int     // memory of ev, or of a closed flow
	serial  uint64  // orders items with the same time by their arrival
	at      int     // place in the heap, -1 outside
}

// order is a heap of items by time.
type order []ordered

// ordered is an item with its place, so that comparing two of them reads the heap only.
type ordered struct {
	key, serial uint64
	item        *item
}

func (o order) Len() int { return len(o) }
func (o order) Less(i, j int) bool {
	if o[i].key != o[j].key {
		return o[i].key < o[j].key
	}
	return o[i].serial < o[j].serial
}
func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].item.at, o[j].item.at = i, j
}

// Push and Pop implement heap.Interface.
func (o *order) Push(x any) {
	it := x.(*item)
	it.at = len(*o)
	*o = append(*o, ordered{it.key, it.serial, it})
}

func (o *order) Pop() any {
	old := *o
	it := old[len(old)-1].item
	old[len(old)-1] = ordered{}
	*o = old[:len(old)-1]
	it.at = -1
	return it
}

func (o *order) push(it *item)   { heap.Push(o, it) }
func (o *order) remove(it *item) { heap.Remove(o, it.at) }

// fix puts an item whose key has changed into its place.
func (o *order) fix(it *item) {
	(*o)[it.at].key = it.key
	heap.Fix(o, it.at)
}

// timers is a heap of flows by the time of their next check.
type timers struct{ heap timerHeap }

func (t *timers) len() int { return len(t.heap) }

func (t *timers) first() (*flow, instant) {
	if len(t.heap) == 0 {
		return nil, 0
	}
	return t.heap[0], t.heap[0].timer
}

// set schedules a check of f, and replaces its previous one.
func (t *timers) set(f *flow, at instant) {
	f.timer = at
	if f.timerAt >= 0 {
		heap.Fix(&t.heap, f.timerAt)
		return
	}
	heap.Push(&t.heap, f)
}

func (t *timers) remove(f *flow) {
	if f.timerAt >= 0 {
		heap.Remove(&t.heap, f.timerAt)
	}
}

type timerHeap []*flow

func (t timerHeap) Len() int           { return len(t) }
func (t timerHeap) Less(i, j int) bool { return t[i].timer < t[j].timer }
func (t timerHeap) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timerAt, t[j].timerAt = i, j
}

// Push and Pop implement heap.Interface.
func (t *timerHeap) Push(x any) {
	f := x.(*flow)
	f.timerAt = len(*t)
	*t = append(*t, f)
}

func (t *timerHeap) Pop() any {
	old := *t
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	f.timerAt = -1
	return f
}
