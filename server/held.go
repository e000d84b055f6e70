package server

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// held are the events of a query that cannot be sent one by one: the newest of all, or the last of each flow.
type held struct {
	last    int // 0: all
	flows   bool
	entries []heldEvent
	byFlow  map[string]int
	live    int
	bytes   int
	share   *share
}

type heldEvent struct {
	time    uint64
	encoded []byte // nil: a later event of the flow has taken its place
	// report: a loss or a state of a node, which is not counted.
	report bool
}

// heldOverhead is the memory of a held event without its encoding.
const heldOverhead = 128

func newHeld(last int, flows bool, share *share) *held {
	return &held{last: last, flows: flows, byFlow: map[string]int{}, share: share}
}

// add takes an event.
func (h *held) add(ev *event.Event, encoded []byte) error {
	entry := heldEvent{time: ev.GetTime(), encoded: encoded, report: ev.GetLost() != nil || ev.GetNodeStatus() != nil}
	if flow := ev.GetFlow(); h.flows && flow != nil {
		if before, ok := h.byFlow[flow.GetId()]; ok {
			h.remove(before)
		}
		h.byFlow[flow.GetId()] = len(h.entries)
	}
	h.entries = append(h.entries, entry)
	h.bytes += heldOverhead + len(encoded)
	if !entry.report {
		h.live++
	}
	return h.share.tryHold(partAnswer, h.bytes)
}

// forget removes the last event of a flow whose state is no longer selected.
func (h *held) forget(flow string) {
	if h == nil {
		return
	}
	if before, ok := h.byFlow[flow]; ok {
		h.remove(before)
		delete(h.byFlow, flow)
	}
}

// release gives the memory back.
func (h *held) release() {
	if h != nil {
		_ = h.share.hold(partAnswer, 0) // less is never too much
	}
}

func (h *held) remove(i int) {
	h.bytes -= len(h.entries[i].encoded)
	h.entries[i].encoded = nil
	h.live--
}

// order puts the events in the order of their times. add may not be called afterwards.
func (h *held) order() {
	if h == nil {
		return
	}
	h.byFlow = nil
	slices.SortStableFunc(h.entries, func(a, b heldEvent) int { return cmp.Compare(a.time, b.time) })
}

// oldest returns the time of the oldest event of the newest n, or 0 where there are fewer.
func (h *held) oldest(n int) uint64 {
	if h == nil {
		return 0
	}
	for i := len(h.entries) - 1; i >= 0; i-- {
		if e := &h.entries[i]; e.encoded != nil && !e.report {
			if n--; n == 0 {
				return e.time
			}
		}
	}
	return 0
}

// each passes the events on, oldest first.
func (h *held) each(put func(encoded []byte) error) error {
	if h == nil {
		return nil
	}
	skip := 0
	if h.last > 0 {
		skip = max(0, h.live-h.last)
	}
	for _, e := range h.entries {
		switch {
		case e.encoded == nil:
			continue
		case !e.report && skip > 0:
			skip--
			continue
		}
		if err := put(e.encoded); err != nil {
			return err
		}
	}
	return nil
}
