package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// cgroupLoss is struct cgroup_loss of bpf/lib/fair.h.
type cgroupLoss struct {
	Lost             [lossPlaces]uint64
	Made, Held, Last uint64
}

// lossPlaces are lostRing and lostMap. Deferred events are not lost.
const lossPlaces = deferred

var placeStages = [lossPlaces]event.LossStage{
	lostRing: event.LossStage_LOSS_STAGE_KERNEL_BUFFER,
	lostMap:  event.LossStage_LOSS_STAGE_KERNEL_MAP,
}

// otherCgroups is the key that serves all cgroups that find no place in the map.
const otherCgroups = 0

// maxAttributed bounds how many pairs of a cgroup and a cause are counted apart. Further ones are of no known cgroup.
const maxAttributed = 4096

// attributed is whose events were lost, and whose events were the cause.
type attributed struct {
	place         int
	cgroup, cause uint64
}

// attribution splits the losses of a probe by cgroup. The sums of the stages stay those of the per-CPU counters:
// what no cgroup's counter explains is of cgroup 0.
type attribution struct {
	m *ebpf.Map

	mu       sync.Mutex
	sums     [lossPlaces]uint64
	seen     map[uint64]cgroupLoss
	pending  map[attributed]uint64 // found in the cgroups' counters and not in a sum yet
	reported map[attributed]uint64 // adds up to sums
}

// newAttribution reads from the map "cgroup_losses", which stays the caller's to close.
func newAttribution(m *ebpf.Map) *attribution {
	// Where this fails, losses that find no place are of no known cgroup, as they are under this key.
	_ = m.Update(uint64(otherCgroups), &cgroupLoss{}, ebpf.UpdateNoExist)
	return &attribution{
		m: m, seen: map[uint64]cgroupLoss{}, pending: map[attributed]uint64{}, reported: map[attributed]uint64{},
	}
}

// split returns the losses by cgroup. sums were read before: a program counts for its cgroup first, so that nothing is
// in a sum that is not in the map.
func (a *attribution) split(sums [lossPlaces]uint64) ([]Loss, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if sums != a.sums {
		now, err := a.read()
		if err != nil {
			return nil, err
		}
		before := a.seen
		a.add(now)
		a.attribute(sums)
		a.prune(before, now)
	}
	var out []Loss
	for k, n := range a.reported {
		out = append(out, Loss{Stage: placeStages[k.place], Count: n, Cgroup: k.cgroup, Cause: k.cause})
	}
	slices.SortFunc(out, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Cgroup, b.Cgroup), cmp.Compare(a.Cause, b.Cause))
	})
	return out, nil
}

// read returns the counters of all cgroups.
func (a *attribution) read() (map[uint64]cgroupLoss, error) {
	now := make(map[uint64]cgroupLoss)
	var cgroup uint64
	var l cgroupLoss
	each := a.m.Iterate()
	for each.Next(&cgroup, &l) {
		now[cgroup] = l
	}
	// An iteration that was disturbed misses some, which the next one finds.
	if err := each.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("read losses by cgroup: %w", err)
	}
	return now, nil
}

// add takes in what the cgroups have lost since the last time. The cause is the one that made most records since
// then.
func (a *attribution) add(now map[uint64]cgroupLoss) {
	news := make(map[uint64]cgroupLoss, len(now))
	var cause, most uint64
	for _, cgroup := range slices.Sorted(maps.Keys(now)) {
		n := now[cgroup].since(a.seen[cgroup])
		news[cgroup] = n
		if n.Made > most {
			cause, most = cgroup, n.Made
		}
	}
	for cgroup, n := range news {
		if cgroup == otherCgroups {
			continue
		}
		if n.Lost[lostRing] > 0 {
			a.pending[attributed{lostRing, cgroup, cause}] += n.Lost[lostRing]
		}
		if n.Lost[lostMap] > 0 {
			a.pending[attributed{lostMap, cgroup, 0}] += n.Lost[lostMap]
		}
	}
	a.seen = now
}

// since is the difference to an earlier reading. Smaller counters are those of an element that was made anew.
func (l cgroupLoss) since(earlier cgroupLoss) cgroupLoss {
	if l.Made < earlier.Made || l.Lost[lostRing] < earlier.Lost[lostRing] || l.Lost[lostMap] < earlier.Lost[lostMap] {
		return l
	}
	l.Made -= earlier.Made
	for i := range l.Lost {
		l.Lost[i] -= earlier.Lost[i]
	}
	return l
}

// attribute brings reported up to the sums.
func (a *attribution) attribute(sums [lossPlaces]uint64) {
	for place, sum := range sums {
		if sum <= a.sums[place] {
			continue
		}
		left := sum - a.sums[place]
		for k, n := range a.pending {
			if k.place != place {
				continue
			}
			take := min(n, left)
			left -= take
			a.count(k, take)
			if a.pending[k] -= take; a.pending[k] == 0 {
				delete(a.pending, k)
			}
		}
		a.count(attributed{place: place}, left)
		a.sums[place] = sum
	}
}

func (a *attribution) count(k attributed, n uint64) {
	if n == 0 {
		return
	}
	if _, ok := a.reported[k]; !ok && len(a.reported) >= maxAttributed {
		k = attributed{place: k.place}
	}
	a.reported[k] += n
}

// prune makes room in the map when it is nearly full: cgroups that had nothing new may be gone. What one of them
// loses between the reading and this is of no known cgroup.
func (a *attribution) prune(before, now map[uint64]cgroupLoss) {
	if uint32(len(now)) < a.m.MaxEntries()/4*3 {
		return
	}
	for cgroup, l := range now {
		if cgroup != otherCgroups && l == before[cgroup] && a.m.Delete(cgroup) == nil {
			delete(a.seen, cgroup)
		}
	}
}
