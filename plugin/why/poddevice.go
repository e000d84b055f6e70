package why

import "github.com/orb8-dev/kubectl-orb8/plugin/why/slots"

import "slices"

// podDevice is the part that one pod has in a device.
type podDevice struct {
	w       *Watch
	pod     *pod
	device  *device
	clock   *slots.Clock
	own     []*process // of the pod, on the device
	devices int        // of the pod
	// siblings: the workload has several GPUs, in this pod or in others. several: it does, or the program calls NCCL.
	siblings, several bool
	// shared: others have processes on the device.
	shared bool
	// gpm: SM activity is known.
	gpm bool
	// vectors are the signals by slot, filled in by measure.
	vectors []signalVector
}

// podDevices are the parts that a pod has in devices. A GPU whose MIG devices the pod has is not listed.
func (w *Watch) podDevices(p *pod, peers int) (list []*podDevice) {
	n := w.nodes[p.node]
	if n == nil {
		return nil
	}
	parents := map[string]bool{}
	for _, d := range p.devices {
		parents[d.parent] = true
	}
	for _, d := range p.devices {
		if d.node != p.node || parents[d.uuid] {
			continue
		}
		s := &podDevice{w: w, pod: p, device: d, clock: &n.clock, gpm: known(d.series.Whole(rowSM))}
		s.shared = len(d.users) > 1 || d.foreign
		for _, r := range p.processes {
			if slices.Contains(r.devices, d) || len(r.devices) == 0 && r.counted {
				s.own = append(s.own, r)
			}
		}
		list = append(list, s)
	}
	for _, s := range list {
		s.devices = len(list)
		s.siblings = len(list) > 1 || peers > 1
		s.several = s.siblings || s.calls(rowCollectives, 0, w.slots) > 0
	}
	return list
}

// calls is a number of the pod's processes on the device, summed. A process with several devices counts in equal parts.
func (s *podDevice) calls(row, slot, reach int) float64 {
	sum := nan
	for _, r := range s.own {
		if r.counted {
			sum = total(sum, r.series.Around(row, slot, reach)/float64(max(len(r.devices), 1)))
		}
	}
	return sum
}

// sum adds a row over the pod's containers, most takes the largest of any.
func (p *pod) sum(row, slot, reach int) float64 {
	sum := nan
	for _, c := range p.containers {
		sum = total(sum, c.series.Around(row, slot, reach))
	}
	return sum
}

func (p *pod) most(row, slot, reach int) float64 {
	best := nan
	for _, c := range p.containers {
		best = most(best, c.series.Around(row, slot, reach))
	}
	return best
}

// busy is the share of time in which a kernel of the pod ran. Without measurement it is the most that it can be.
func (s *podDevice) busy(slot, reach int) (share float64, measured bool) {
	d := &s.device.series
	util, sm := d.Around(rowUtil, slot, reach), d.Around(rowSM, slot, reach)
	if s.shared {
		own := nan
		for _, r := range s.own {
			own = total(own, r.series.Around(rowOwnSM, slot, reach))
		}
		if known(own) {
			return min(own, 1), true
		}
		if total(s.calls(rowLaunches, slot, reach), s.calls(rowGraphs, slot, reach)) == 0 {
			return 0, true
		}
		return min(or(util, sm/goodFill), 1), false
	}
	if !known(util) {
		return min(sm/goodFill, 1), false
	}
	return min(max(util, or(sm, 0)), 1), true
}

// throttled is how much power or heat lowered the clock, as a share of time; NaN where that is not known.
func (s *podDevice) throttled(slot int) float64 {
	d := s.device
	if parent := s.w.parentOf(d); parent != nil {
		d = parent // clocks are those of the whole GPU
	}
	if !known(d.series.Around(rowThrottleKnown, slot, reach)) {
		return nan
	}
	doubt := or(d.series.Around(rowDoubt, slot, reach), 0)
	certain := or(d.series.Around(rowThrottled, slot, reach), 0) * (1 - doubt)
	if or(d.series.Whole(rowDoubt), 0) == 0 {
		return certain
	}
	// The highest clock seen of GPUs of this name is the least that their highest clock can be.
	ratio := or(d.series.Around(rowDoubtMHz, slot, reach), 0) / float64(max(s.w.highestMHz[d.name], 1))
	if ratio > clockHealthy {
		return nan
	}
	return certain + doubt*ramp(ratio, clockHealthy, clockThrottled)
}

// untouched reports whether the pod's processes made no call in the window and nothing ran, as far as that is known.
func (s *podDevice) untouched() bool {
	if s.device.samples == 0 || len(s.own) == 0 {
		return false
	}
	counted := true
	for _, r := range s.own {
		if r.active || r.waiting > 0 || or(r.series.Whole(rowOwnSM), 0) > 0 {
			return false
		}
		counted = counted && r.counted && known(r.series.Whole(rowSyncs))
	}
	if counted {
		return true
	}
	cores := or(s.pod.sum(rowCPU, 0, s.w.slots), 1)
	if s.shared {
		// The device shows the work of others too. The process is measured, and did nothing.
		return cores < untouchedSharedCPU
	}
	for slot := range s.clock.Seen() {
		if busy, _ := s.busy(slot, 0); known(busy) && busy > untouchedBusy {
			return false
		}
	}
	busy, _ := s.busy(0, s.w.slots)
	received := or(s.clock.Rate(&s.pod.series, rowNet, 0, s.w.slots), 0)
	return known(busy) && cores/float64(s.devices) < untouchedCPU && received < untouchedReceived
}

// hardwareXIDs are the driver's errors that are the device's, by NVIDIA's list ("XID Errors"): memory, links, firmware,
// the bus. The others are programs' mistakes as a rule.
var hardwareXIDs = []uint32{
	46, 48, 54, 56, 57, 58, 61, 62, 63, 64, 71, 72, 73, 74, 79, 80, 81, 82, 87, 88, 89, 92, 93, 94, 95, 96, 97, 102,
	110,
	118, 119, 120, 121, 122, 123, 124, 125, 126, 140, 143, 145, 149, 150, 151,
}

// failing reports whether the driver reported errors of a device, or of the GPU that it is a part of.
func (w *Watch) failing(d *device) bool {
	parent := w.parentOf(d)
	return d.failing() || parent != nil && parent.failing()
}

func (d *device) failing() bool {
	grown, _ := d.lastECC.Growth(d.leastECC)
	return d.lost || grown > 0 ||
		slices.ContainsFunc(d.xids, func(x uint32) bool { return slices.Contains(hardwareXIDs, x) })
}
