package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Loss is how much a probe has dropped at one stage since it was opened.
type Loss struct {
	Stage event.LossStage
	// Count is cumulative.
	Count uint64
}

// Places in the per-CPU map "losses" of bpf/lib/loss.h.
const (
	lostRing = iota
	lostMap
	deferred
	places
)

// Losses reads the per-CPU map "losses" that every probe has.
type Losses struct{ m *ebpf.Map }

// NewLosses reads from m, which stays the caller's to close.
func NewLosses(m *ebpf.Map) Losses { return Losses{m} }

// Lost gives the losses since the map was made, stages without any left out.
func (l Losses) Lost() ([]Loss, error) {
	n, err := l.sums()
	if err != nil {
		return nil, err
	}
	var out []Loss
	if n[lostRing] > 0 {
		out = append(out, Loss{event.LossStage_LOSS_STAGE_KERNEL_BUFFER, n[lostRing]})
	}
	if n[lostMap] > 0 {
		out = append(out, Loss{event.LossStage_LOSS_STAGE_KERNEL_MAP, n[lostMap]})
	}
	return out, nil
}

// Deferred counts the events that found the ring buffer full and come again at the next walk.
func (l Losses) Deferred() (uint64, error) {
	n, err := l.sums()
	return n[deferred], err
}

func (l Losses) sums() (sums [places]uint64, err error) {
	var perCPU []uint64
	for i := range sums {
		if err := l.m.Lookup(uint32(i), &perCPU); err != nil {
			return sums, fmt.Errorf("read losses: %w", err)
		}
		for _, n := range perCPU {
			sums[i] += n
		}
	}
	return sums, nil
}
