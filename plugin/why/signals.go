package why

import (
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Signal is a number that rules look at, of one GPU at one moment. All are made of means over a few seconds, since one
// iteration of a program may take two.
type Signal int

// The signals.
const (
	Busy Signal = iota
	Idle
	Work
	Underused
	Small
	Gaps
	MostGaps
	DRAM
	Tensor
	Throttled
	CopyTime
	Bus
	Several
	CPUHeld
	CPUPressure
	Loaders
	IOPressure
	OfLoaders
	Received
	PerCore
	Counted
	Shared
	Measured
	Hidden
	Sync
	Stalled
	GPM
	signals
)

// SignalDoc describes a signal.
type SignalDoc struct {
	Name, Unit, Doc, Source string
}

// Signals describes them, by number.
var Signals = [signals]SignalDoc{
	Busy: {
		"busy", "share of time", "any kernel ran",
		"nvmlDeviceGetUtilizationRates; a GPU that others use too: nvmlDeviceGetProcessUtilization, else calls; MIG: SM activity",
	},
	Idle: {"idle", "share of time", "no kernel ran", "1 − busy"},
	Work: {
		"work", "share of time", "SMs were as full as in good kernels (SM activity ÷ 0.85)",
		"GPM; before Hopper busy time, by how much of it power and memory show",
	},
	Underused: {"underused", "share of time", "kernels ran, and SMs had little to do", "busy − work"},
	Small: {"small kernels", "0 to 1",
		"a kernel takes less GPU time than a launch takes host time (1 at 32 µs or less, 0 from 62 µs on), or less than 900 µs (1 at 400) and synchronisations follow each other (0 at 55 a second, 1 at 130)",
		"launches and synchronisations by uprobes at libcuda; without them, a busy main thread (CPU time) and a GPU with gaps"},
	Gaps: {
		"gaps", "share of idle", "the gaps that go with small kernels: at most 1.1 times the underused time",
		"underused, small kernels",
	},
	MostGaps: {
		"most gaps", "share of idle", "the gaps that may go with small kernels: at most 2.5 times the underused time",
		"underused, small kernels",
	},
	DRAM: {
		"DRAM of work", "share of bandwidth", "while it worked",
		"GPM; before Hopper the share of busy time in which memory was read or written",
	},
	Tensor: {"tensor of work", "share of time", "tensor cores worked, while it worked", "GPM"},
	Throttled: {
		"throttled", "share of looks",
		"power or heat kept the clock under 90 % of its highest (counted in part down to 75 %)",
		"nvmlDeviceGetCurrentClocksEventReasons, nvmlDeviceGetClockInfo, nvmlDeviceGetMaxClockInfo",
	},
	CopyTime: {
		"copy time", "share of idle",
		"threads were in copies, or the bus was as busy as copies make it (35 GB/s from Hopper on, 17 GB/s before)",
		"uprobes at libcuda; GPM or PCIe counters",
	},
	Bus: {"bus", "bytes a second", "over PCIe, both ways", "GPM or PCIe counters; else bytes of copies"},
	Several: {
		"several", "0 or 1", "the program has several GPUs, or its workload several pods, or it calls NCCL",
		"NVML's processes; names; uprobes at libnccl",
	},
	CPUHeld:     {"held back", "share of periods", "the CPU limit was used up", "cpu.stat"},
	CPUPressure: {"CPU pressure", "share of time", "some task waited for a CPU", "PSI"},
	Loaders: {
		"loaders", "CPUs for each GPU's idle time",
		"CPU time beyond one thread for each GPU that is not idle, and beyond what fetching takes (a CPU for 80 MB/s)",
		"cpu.stat, flows",
	},
	IOPressure: {
		"I/O pressure", "share of idle", "some task waited for a block device or file system",
		"PSI; else reads that were under way",
	},
	OfLoaders: {
		"computing loaders", "share of loaders",
		"CPUs in use beyond the main threads, of these and the reads under way", "cpu.stat, block layer",
	},
	Received: {
		"received", "bytes a second", "over the network from elsewhere than the workload's own pods, whole pod",
		"flows",
	},
	Hidden: {
		"hidden", "0 or 1", "kernels that use few SMs do not show: a MIG device",
		"NVML tells no utilisation of MIG devices",
	},
	Sync:    {"synchronisation", "threads", "threads blocked in synchronisation, mean", "uprobes at libcuda"},
	GPM:     {"GPM", "1", "activity of SMs is known", "GPM: Hopper and newer"},
	Stalled: {"stalled", "share of time", "some task waited for a block device or file system", "PSI"},
	Counted: {"calls", "1", "calls of the driver's library are counted", "uprobes at libcuda"},
	Shared:  {"shared", "0 or 1", "others have processes on the GPU", "NVML's processes"},
	Measured: {
		"utilisation", "1", "it is known when a kernel ran",
		"NVML; not of MIG devices, nor of one process among several where the driver does not tell them apart",
	},
	PerCore: {"received per CPU", "bytes a second", "for each CPU that loaders keep busy", "flows, cpu.stat"},
}

const (
	// goodFill is how full SMs are in kernels that use them well.
	goodFill = 0.85
	// spinFill and smallFill are how full they are in kernels that wait for other GPUs, and in small ones.
	spinFill, smallFill = 0.15, 0.29
	// gapRatio and mostGapRatio are how much idle time goes, and may go, with the underused time of small kernels.
	gapRatio, mostGapRatio = 1.1, 2.5
	// linkModern and linkOlder are what copies of pinned memory reach, bytes a second: PCIe 5 and 4.
	linkModern, linkOlder = 35e9, 17e9
	// linkPageable is what copies of pageable memory reach.
	linkPageable = 6e9
	// clockHealthy and clockThrottled are shares of the highest clock: what a GPU at its own power limit keeps, and
	// what it does not fall under.
	clockHealthy, clockThrottled = 0.9, 0.75
	// smallKernel and largeKernel are µs of GPU time for each launch.
	smallKernel, largeKernel = 32, 62
	// smallSynced and largeSynced are the same where the program synchronises all the time.
	smallSynced, largeSynced = 400, 900
	// rareSyncs and manySyncs are a second.
	rareSyncs, manySyncs = 55, 130
	// fetching is how many bytes a second one CPU takes from the network, decrypted and copied, at the least.
	fetching = 80e6
	// quietLaunches is how many a second, beside good kernels, do not make small ones.
	quietLaunches = 6000
	// reach is how many slots on either side are looked at with one.
	reach = 2
)

// moment is the signals of one GPU around one slot; NaN is not known.
type moment [signals]float64

// seat is one pod's part of a device.
type seat struct {
	w       *Watch
	pod     *pod
	device  *device
	clock   *clock
	own     []*process // of the pod, on the device
	seats   int        // of the pod
	several bool
	shared  bool
}

// calls is a number of the seat's processes, summed; that of a process with several devices is divided among them.
func (s *seat) calls(row, slot, reach int) float64 {
	sum := nan
	for _, r := range s.own {
		if r.counted {
			sum = total(sum, r.series.around(row, slot, reach)/float64(max(len(r.devices), 1)))
		}
	}
	return sum
}

// containers sums a row over the pod's containers; largest takes the most of any.
func (p *pod) containersSum(row, slot, reach int) float64 {
	sum := nan
	for _, c := range p.containers {
		sum = total(sum, c.series.around(row, slot, reach))
	}
	return sum
}

func (p *pod) containersMost(row, slot, reach int) float64 {
	best := nan
	for _, c := range p.containers {
		best = most(best, c.series.around(row, slot, reach))
	}
	return best
}

// or is x, or what stands for it where it is not known.
func or(x, instead float64) float64 {
	if known(x) {
		return x
	}
	return instead
}

// busy is the share of time in which a kernel of the pod ran.
func (s *seat) busy(slot, reach int) (share float64, measured bool) {
	d := &s.device.series
	util, sm := d.around(rowUtil, slot, reach), d.around(rowSM, slot, reach)
	if s.shared {
		own := nan
		for _, r := range s.own {
			own = total(own, r.series.around(rowOwnSM, slot, reach))
		}
		if known(own) {
			return min(own, 1), true
		}
		if launches := total(s.calls(rowLaunches, slot, reach), s.calls(rowGraphs, slot, reach)); launches == 0 {
			return 0, true
		}
		return min(or(util, sm/goodFill), 1), false // at most
	}
	if !known(util) {
		return min(sm/goodFill, 1), false
	}
	return min(max(util, or(sm, 0)), 1), true
}

// modern: the device has GPM.
func (d *device) modern() bool { return known(d.series.whole(rowSM)) }

// work is the share of the time in which SMs were used well.
func (s *seat) work(busy float64, measured bool, small float64, slot int) float64 {
	d := &s.device.series
	sm := d.around(rowSM, slot, reach)
	if known(sm) {
		// A little activity is that of small kernels and of those that spin.
		fill := spinFill + (smallFill-spinFill)*small
		work := max(sm-fill*busy, 0) / (goodFill - fill)
		work = min(max(work, ramp(or(d.around(rowDRAM, slot, reach), 0), 0.03, 0.78)), busy)
		if !measured {
			work *= 1 - small
		}
		return work
	}
	// Before Hopper: power and memory show kernels that work; small ones show less in both.
	if busy < 0.02 {
		return busy
	}
	power, good, dense, drawn := nan, nan, 0.0, 0.0
	if p := d.around(rowPower, slot, reach); known(p) {
		power = ramp((p-0.19*(1-busy))/busy, 0.36, 0.88)
		drawn = ramp(p, 0.34, 0.85)
	}
	if x := d.around(rowMem, slot, reach); known(x) {
		good, dense = ramp(x/busy, 0.05, 0.36), ramp(x/busy, 0.15, 0.6)
	}
	if !known(power) && !known(good) {
		return busy * (1 - small)
	}
	both := (or(power, good) + or(good, power)) / 2
	// Beside small kernels, clocks are up also while nothing runs: only what is drawn in all counts then, or memory
	// that is busy.
	return small*max(min(drawn, busy), busy*dense) + (1-small)*busy*both
}

// moment makes the signals around a slot. ok is false where not even it is known whether the GPU was busy.
func (s *seat) moment(slot int) (m moment, ok bool) {
	for i := range m {
		m[i] = nan
	}
	busy, measured := s.busy(slot, reach)
	if !known(busy) {
		return m, false
	}
	d := &s.device.series
	several := s.several || s.calls(rowCollectives, slot, s.w.slots) > 0
	if full := min(
		or(d.around(rowSM, slot, reach), nan)/goodFill, 1,
	); measured && known(full) && !several && s.calls(rowLaunches, slot, reach) < quietLaunches &&
		s.calls(rowSyncs, slot, reach) < rareSyncs {
		// Nothing but good kernels runs, and GPM tells of all the time what utilisation tells of the driver's last
		// sample.
		busy = (busy + full) / 2
	}
	idle := 1 - busy
	m[Busy], m[Idle] = busy, idle
	m[Shared] = 0
	if s.shared {
		m[Shared] = 1
	}
	if measured {
		m[Measured] = 1
	}
	launches, syncs := s.calls(rowLaunches, slot, reach), s.calls(rowSyncs, slot, reach)
	cores := s.pod.containersSum(rowCPU, slot, reach)
	small := 0.0
	if known(launches) || known(syncs) {
		if launches > 0 {
			// Where the driver samples for a sixth of a second, a few looks tell little.
			long, _ := s.busy(slot, 3*reach)
			each := max(busy, or(long, 0)) * 1e6 / launches
			small = max(
				ramp(each, largeKernel, smallKernel),
				ramp(or(syncs, 0), rareSyncs, manySyncs)*ramp(each, largeSynced, smallSynced),
			)
		}
		m[Small], m[Counted] = small, 1
	}
	work := s.work(busy, measured, small, slot)
	if sync := s.calls(rowSync, slot, reach); !several && small < 1 && known(m[Counted]) && launches > 0 && measured &&
		s.device.modern() {
		// SMs have little to do and the host does not wait for them: it is the host that is waited for.
		lag := ramp((busy-work)/max(busy, 0.02), 0.2, 0.4) * ramp(
			or(sync, 0)/max(busy, 0.02), 0.65, 0.35,
		) * ramp(busy*1e6/launches, 700, 300)
		if lag > small {
			small = lag
			m[Small] = small
			work = s.work(busy, measured, small, slot)
		}
	}
	if !known(m[Counted]) && known(cores) && measured {
		// Uncounted: a busy main thread, gaps, and kernels that use little.
		m[Small] = ramp(cores/float64(s.seats), 0.5, 0.85) * ramp(idle, 0.05, 0.2) * ramp(
			(busy-work)/max(busy, 0.02), 0.12, 0.35,
		)
		if several {
			m[Small] *= 0.7 // they may wait for each other, too
		}
		work = s.work(busy, measured, m[Small], slot)
	}
	m[Work], m[Underused] = work, busy-work
	m[Gaps], m[MostGaps] = 0, 0
	if idle > 0 {
		// A thread that launches, or waits for each answer, keeps a CPU busy or is in synchronisation: there are no
		// more gaps than such time.
		host := or(cores/float64(s.seats), 1) + or(s.calls(rowSync, slot, reach), 0) + 0.05
		most := min(idle, max(host-m[Underused], 0))
		m[Gaps] = min(gapRatio*m[Underused]*or(m[Small], 0), most) / idle
		m[MostGaps] = min(mostGapRatio*m[Underused]*or(m[Small], 0), most) / idle
	}
	switch {
	case !known(m[Counted]):
		m[MostGaps] = m[Gaps]
	case !measured:
		m[Gaps], m[MostGaps] = 0.45*small, small
	}
	if s.device.modern() {
		m[GPM] = 1
	}
	dram, mem := d.around(rowDRAM, slot, reach), d.around(rowMem, slot, reach)
	switch {
	case known(dram):
		m[DRAM] = min(dram/max(work, 0.02), 1)
	case known(mem):
		// Memory is read or written a larger part of the time than its bandwidth is used.
		m[DRAM] = min(mem/max(busy, 0.02), 1)
	}
	if tensor := d.around(rowTensor, slot, reach); known(tensor) {
		m[Tensor] = min(tensor/max(work, 0.02), 1)
	}
	m[Throttled] = s.throttled(slot)
	s.copies(&m, slot)
	m[Sync], m[Hidden] = s.calls(rowSync, slot, reach), 0
	if !measured && !s.shared {
		m[Hidden] = 1
	}
	m[Several] = 0
	if several {
		m[Several] = 1
	}
	s.loading(&m, cores, slot)
	return m, true
}

// throttled is the share of looks at which power or heat kept the clocks down; NaN where it is not known how far.
func (s *seat) throttled(slot int) float64 {
	d := s.device
	if parent := s.w.devices[key{d.node, d.parent}]; d.parent != "" && parent != nil {
		d = parent // clocks are those of the whole GPU
	}
	if !known(d.series.around(rowLooks, slot, reach)) {
		return nan
	}
	doubt := or(d.series.around(rowDoubt, slot, reach), 0)
	sure := or(d.series.around(rowThrottled, slot, reach), 0) * (1 - doubt)
	if or(d.series.whole(rowDoubt), 0) == 0 {
		return sure
	}
	// The highest clock that a GPU of this name was seen to have is the least that it can be.
	ratio := or(d.series.around(rowDoubtMHz, slot, reach), 0) / float64(max(s.w.highest[d.name], 1))
	if ratio > clockHealthy {
		return nan
	}
	return sure + doubt*ramp(ratio, clockHealthy, clockThrottled)
}

// copies fills in what is known of copies.
func (s *seat) copies(m *moment, slot int) {
	d := &s.device.series
	idle := m[Idle]
	bytes := total(
		s.calls(rowHostToDevice, slot, reach), s.calls(rowDeviceToHost, slot, reach),
		s.calls(rowOtherBytes, slot, reach),
	)
	m[Bus] = total(d.around(rowReceived, slot, reach), d.around(rowSent, slot, reach))
	if s.shared || !known(m[Bus]) {
		m[Bus] = bytes
	}
	link := float64(linkOlder)
	if s.device.modern() {
		link = linkModern
	}
	copying := nan
	if c := s.calls(rowCopy, slot, reach); known(c) {
		copying = most(c, or(bytes, 0)/link)
		if or(bytes, 0) < 50e6 {
			copying = 0 // many small ones are a matter of launches
		}
	} else if known(m[Bus]) {
		// How long they took is not known: copies of pageable memory are slow.
		copying = m[Bus] / link
		if slow := m[Bus] / linkPageable; slow < 1.35*idle+0.05 {
			copying = slow * ramp(m[Bus], 0.4e9, 0.8e9)
		}
	}
	if known(copying) {
		m[CopyTime] = min(copying, idle) / max(idle, 0.01)
	}
}

// loading fills in what is known of what the pod does beside its GPUs.
func (s *seat) loading(m *moment, cores float64, slot int) {
	p := s.pod
	m[CPUHeld] = p.containersMost(rowCPUThrottled, slot, reach)
	m[CPUPressure] = p.containersMost(rowPSICPU, slot, reach)
	idle := m[Idle] * (1 - or(m[CopyTime], 0))
	extra := nan
	if known(cores) {
		// A thread that launches small kernels has no rest while the GPU is idle.
		extra = max(cores/float64(s.seats)-max(1-idle, or(m[Small], 0)), 0)
		if !known(m[Measured]) && m[Several] == 1 {
			extra = max(cores/float64(s.seats)-1, 0) // its main thread may wait for kernels that do not show
		}
	}
	if n := s.clock; n.seen() > 0 && s.w.flowsSeen {
		m[Received] = n.rate(&p.series, rowNet, slot, reach)
	}
	if known(extra) {
		if extra > 0.3*idle {
			m[PerCore] = m[Received] / (extra * float64(s.seats))
		}
		extra = max(extra-or(m[Received], 0)/fetching/float64(s.seats), 0)
		m[Loaders] = extra / max(idle, 0.05)
	}
	reading := p.containersSum(rowInFlight, slot, reach) / float64(s.seats)
	if io := p.containersMost(rowPSIIO, slot, reach); known(io) {
		m[Stalled] = io
		m[IOPressure] = min(io/max(idle, 0.05), 1)
	} else if reading > 0.05 {
		// Without PSI, file systems that are no block devices do not show.
		m[IOPressure] = min(reading/max(idle, 0.05), 1)
	}
	if known(extra) && !(reading > 0.02) && m[IOPressure] > 0 {
		// How many wait for devices is not told. Where there are any, the others may compute for them: reading takes
		// CPU time, too.
		m[OfLoaders] = 1 - 0.75*ramp(m[IOPressure], 0.25, 0.6)
	}
	if known(extra) && reading > 0.02 {
		m[OfLoaders] = extra / (extra + reading)
	}
}

// hardware are the driver's errors that are the device's, by NVIDIA's list ("XID Errors"): memory, links, firmware, the
// bus. The others are programs' mistakes as a rule.
var hardware = []uint32{
	46, 48, 54, 56, 57, 58, 61, 62, 63, 64, 71, 72, 73, 74, 79, 80, 81, 82, 87, 88, 89, 92, 93, 94, 95, 96, 97, 102,
	110, 118, 119, 120, 121, 122, 123, 124, 125, 126, 140, 143, 145, 149, 150, 151,
}

// ails says what the driver reported of a device, or of the GPU that it is a part of, that makes it sick. Parts of
// parts do not exist, so that a parent's parent is not followed.
func (w *Watch) ails(d *device) bool {
	if parent := w.devices[key{d.node, d.parent}]; d.parent != "" && parent != nil && parent.sick() {
		return true
	}
	return d.sick()
}

func (d *device) sick() bool {
	grown := d.firstECC != nil && d.lastECC != nil && *d.lastECC > *d.firstECC
	return d.lost || grown || slices.ContainsFunc(d.xids, func(x uint32) bool { return slices.Contains(hardware, x) })
}

// untouched says that a pod's processes asked nothing of the driver in the window, and nothing ran: as far as that is
// known.
func (s *seat) untouched() bool {
	if s.device.looks == 0 || len(s.own) == 0 {
		return false
	}
	counted := true
	for _, r := range s.own {
		if r.any || r.waiting > 0 || or(r.series.whole(rowOwnSM), 0) > 0 {
			return false
		}
		counted = counted && r.counted && known(r.series.whole(rowSyncs))
	}
	if counted {
		return true
	}
	if s.shared {
		// What others do shows on the device too: a process that is measured, and did nothing.
		return or(s.pod.containersSum(rowCPU, 0, s.w.slots), 1) < 0.03
	}
	for slot := range s.clock.seen() {
		if busy, _ := s.busy(slot, 0); known(busy) && busy > 0.005 {
			return false
		}
	}
	cores := s.pod.containersSum(rowCPU, 0, s.w.slots)
	busy, _ := s.busy(0, s.w.slots)
	return known(busy) && or(cores, 1)/float64(s.seats) < 0.05 && or(
		most(s.clock.rate(&s.pod.series, rowNet, 0, s.w.slots)), 0,
	) < 1e6
}

var causes = func() (list []event.GpuCause) {
	for c := event.GpuCause_GPU_CAUSE_UNKNOWN; c <= event.GpuCause_GPU_CAUSE_SICK; c++ {
		list = append(list, c)
	}
	return list
}()
