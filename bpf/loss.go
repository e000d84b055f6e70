package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Loss is how much a probe has dropped at one stage since it was opened.
type Loss struct {
	Stage event.LossStage
	// Count is cumulative for the same stage, cgroup and cause. The sum over all of a stage is all that the stage lost.
	Count uint64
	// Cgroup is whose events were lost; 0: unknown.
	Cgroup uint64
	// Cause is the cgroup that made most of what competed for the same room meanwhile; 0: unknown.
	Cause uint64
}

// Places in the per-CPU map "losses" of bpf/lib/loss.h.
const (
	lostRing = iota
	lostMap
	deferred
	places
)

// Losses reads what a probe could not keep: from the per-CPU map "losses" that every one has, from the map
// "cgroup_losses" where there is one (bpf/lib/fair.h), and from its programs.
type Losses struct {
	m        *ebpf.Map
	programs []*ebpf.Program
	// cgroups is nil where the programs do not count by cgroup.
	cgroups *attribution
}

// NewLosses reads from the programs and the maps "losses" and "cgroup_losses" of objects (see Programs), which stay the
// caller's to close.
func NewLosses(objects any) (l Losses) {
	eachField(objects, func(_ string, p *ebpf.Program) { l.programs = append(l.programs, p) })
	eachField(objects, func(name string, m *ebpf.Map) {
		switch name {
		case "losses":
			l.m = m
		case "cgroup_losses":
			l.cgroups = newAttribution(m)
		}
	})
	return l
}

// Lost returns the losses since the map was made, stages without any left out.
func (l Losses) Lost() ([]Loss, error) {
	n, err := l.sums()
	if err != nil {
		return nil, err
	}
	out, err := l.split([lossPlaces]uint64(n[:lossPlaces]))
	if err != nil {
		return nil, err
	}
	missed, err := l.missed()
	if err != nil {
		return nil, err
	}
	if missed > 0 {
		out = append(out, Loss{Stage: event.LossStage_LOSS_STAGE_KERNEL_BUSY, Count: missed})
	}
	return out, nil
}

// split divides the sums by cgroup, as far as the programs have counted so.
func (l Losses) split(sums [lossPlaces]uint64) (out []Loss, err error) {
	if l.cgroups != nil {
		return l.cgroups.split(sums)
	}
	for place, n := range sums {
		if n > 0 {
			out = append(out, Loss{Stage: placeStages[place], Count: n})
		}
	}
	return out, nil
}

// missed counts the runs of tracing programs that the kernel left out because the program was just running on that
// CPU, and an interrupt led to its hook again (recursion_misses of bpf_prog_info, Linux 5.12). Nobody knows what they
// would have seen, if anything in scope.
func (l Losses) missed() (n uint64, err error) {
	for _, p := range l.programs {
		s, err := p.Stats()
		if err != nil {
			return 0, fmt.Errorf("read a program's misses: %w", err)
		}
		n += s.RecursionMisses
	}
	return n, nil
}

// Deferred counts the events that found the ring buffer full and are retried at the next scan.
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
