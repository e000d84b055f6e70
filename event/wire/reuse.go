package wire

import (
	"cmp"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxReused limits the flows of a Memory, 1 KiB each, unless it says otherwise.
const maxReused = 256

// Memory is memory for flows, the most frequent events, which is used for one batch after another. Other events, and
// those beyond its limit, get memory of their own. The zero value is ready to use. A Memory is not safe for concurrent
// use.
type Memory struct {
	// Limit is the most flows; 0: 256. Beyond 256, memory is kept only for twice as many as the last batch had.
	Limit int

	events []*slotEvent
	flows  []*slotEventFlow
	// usedEvents and usedFlows are in use since the last Reset.
	usedEvents, usedFlows int
}

// Reset ends the use of all flows that were decoded into the memory.
func (m *Memory) Reset() {
	m.events = shrink(m.events, m.usedEvents)
	m.flows = shrink(m.flows, m.usedFlows)
	m.usedEvents, m.usedFlows = 0, 0
}

// shrink releases memory beyond maxReused of which less than half was used.
func shrink[T any](all []*T, used int) []*T {
	keep := max(maxReused, 2*used)
	if len(all) <= keep {
		return all
	}
	clear(all[keep:])
	return all[:keep]
}

func (m *Memory) limit() int { return cmp.Or(m.Limit, maxReused) }

// DecodeReusing is Decode for callers that do not keep flows: the event of one is valid until m is reset. Other events
// are the caller's.
func (d *Decoder) DecodeReusing(encoded []byte, m *Memory) (*event.Event, error) {
	if m.usedEvents == m.limit() {
		return d.Decode(encoded)
	}
	if m.usedEvents == len(m.events) {
		m.events = append(m.events, &slotEvent{})
	}
	p := m.events[m.usedEvents]
	p.m.Reset()
	d.memory = m
	err := d.decode(encoded, &p.m, p)
	d.memory = nil
	if err != nil {
		return nil, err
	}
	if p.m.GetFlow() == nil {
		m.events[m.usedEvents] = &slotEvent{}
	} else {
		m.usedEvents++
	}
	return &p.m, nil
}

// newSlotEventFlow returns empty memory of a flow.
func (d *Decoder) newSlotEventFlow() *slotEventFlow {
	m := d.memory
	if m == nil || m.usedFlows == m.limit() {
		return &slotEventFlow{}
	}
	if m.usedFlows == len(m.flows) {
		m.flows = append(m.flows, &slotEventFlow{})
	} else {
		*m.flows[m.usedFlows] = slotEventFlow{}
	}
	m.usedFlows++
	return m.flows[m.usedFlows-1]
}
