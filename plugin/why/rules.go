package why

import "github.com/orb8-dev/kubectl-orb8/event"

// part is the part of the window's time that a rule divides.
type part int

// The parts. Idle and busy time together are the window.
const (
	// ofWindow: the rule judges the window as a whole, before all other rules.
	ofWindow part = iota
	// ofIdle is the time in which no kernel ran, ofBusy that in which one ran.
	ofIdle
	ofBusy
	partCount
)

// signal is the share of the part.
func (p part) signal() signal {
	if p == ofBusy {
		return sigBusy
	}
	return sigIdle
}

func (p part) String() string {
	return [partCount]string{"whole window", "idle time", "busy time"}[p]
}

// condition is a signal with its thresholds: 0 at from, 1 at to, in proportion between them.
type condition struct {
	signal   signal
	from, to float64
	// unknown is the result where the signal is not known.
	unknown float64
	// any: of the rule's conditions so marked, the strongest counts.
	any bool
}

func (c *condition) strength(v *signalVector) float64 {
	if x := v[c.signal]; known(x) {
		return ramp(x, c.from, c.to)
	}
	return c.unknown
}

// rule attributes a share of a part's time to a cause.
type rule struct {
	cause event.GpuCause
	part  part
	// turn: rules of an earlier turn take their share first. Rules of one turn divide what is left.
	turn int
	// conditions multiply to the share of the part that the rule takes.
	conditions []condition
	// ofAll: the conditions multiply to a share of all the time, not of the part.
	ofAll bool
	// when describes the conditions of rules of the window.
	when string
	// needs are the signals without which a verdict for this cause is never of high confidence.
	needs []signal
	// doubts: where one of them holds by half or more, a verdict for this cause is of medium confidence at most.
	doubts []condition
	// apart is what would distinguish the cause from others.
	apart map[event.GpuCause]string
}

// Short names of causes, for the table.
const (
	unknown    = event.GpuCause_GPU_CAUSE_UNKNOWN
	abandoned  = event.GpuCause_GPU_CAUSE_ABANDONED
	network    = event.GpuCause_GPU_CAUSE_NETWORK
	storage    = event.GpuCause_GPU_CAUSE_STORAGE
	cpu        = event.GpuCause_GPU_CAUSE_CPU
	launching  = event.GpuCause_GPU_CAUSE_LAUNCH
	copying    = event.GpuCause_GPU_CAUSE_COPY
	collective = event.GpuCause_GPU_CAUSE_COLLECTIVE
	memory     = event.GpuCause_GPU_CAUSE_MEMORY
	compute    = event.GpuCause_GPU_CAUSE_COMPUTE
	throttle   = event.GpuCause_GPU_CAUSE_THROTTLE
	sick       = event.GpuCause_GPU_CAUSE_SICK
)

// causeWords describe the causes for people. A verdict puts "consistent with" before them, but for the unknown cause.
var causeWords = map[event.GpuCause]string{
	sick:       "a failing GPU: the driver reports device errors",
	abandoned:  "an abandoned or waiting process: it holds GPU memory and makes no driver calls",
	copying:    "waiting for copies between host and device",
	launching:  "launch overhead: many small kernels or synchronisations, limited by one host thread",
	cpu:        "waiting for input from saturated CPUs",
	storage:    "waiting for input from block devices or file systems",
	network:    "waiting for input from the network",
	throttle:   "clocks throttled by power or temperature",
	collective: "waiting in a collective operation for other GPUs, which keeps this GPU busy",
	memory:     "work limited by GPU memory bandwidth: healthy",
	compute:    "work limited by GPU compute: healthy",
	unknown:    "idle, with no cause that orb8 can see",
}

// rules is the table.
var rules = []rule{
	{
		cause: sick, part: ofWindow,
		when: "an XID of the hardware, uncorrected ECC errors that grow, or a GPU that is lost, in the window",
		apart: map[event.GpuCause]string{
			compute: "nvidia-smi -q on the node, and the kernel's log",
		},
	},
	{
		cause: abandoned, part: ofWindow,
		when: "no launch, copy or synchronisation in the window; where calls are not counted: " +
			"no kernel ran, less than 0.05 CPUs a GPU, less than 1 MB/s received",
		needs: []signal{sigCounted},
		apart: map[event.GpuCause]string{unknown: "a longer --window: one that works now and then shows it"},
	},
	{
		cause: copying, part: ofIdle, turn: 1,
		conditions: []condition{{signal: sigCopyTime, from: 0, to: 1}},
		needs:      []signal{sigCopyTime, sigBus, sigCounted, sigMeasured, sigIOPressure, sigLoaders},
		doubts: []condition{
			{signal: sigCopyTime, from: 0.8, to: 0.5}, {signal: sigIOPressure, from: 0.2, to: 0.5},
			{signal: sigReceived, from: 0.5e6, to: 1.5e6}, {signal: sigCPUHeld, from: 0, to: 0.3},
			{signal: sigLoaders, from: 0.35, to: 0.75}, {signal: sigSmall, from: 0, to: 0.3},
		},
		apart: map[event.GpuCause]string{
			launching: "how large a copy is: many small ones are a matter of launches",
			network:   "pinned memory and copies beside the computation would take this part away",
			cpu:       "pinned memory: pageable copies keep a CPU busy",
		},
	},
	{
		cause: launching, part: ofIdle, turn: 1,
		conditions: []condition{{signal: sigGaps, from: 0, to: 1}},
		needs:      []signal{sigCounted, sigMeasured, sigLoaders, sigIOPressure},
		doubts: []condition{
			{signal: sigGaps, from: 0.5, to: 0.2}, {signal: sigCopyTime, from: 0, to: 0.4},
			{signal: sigIOPressure, from: 0.1, to: 0.4}, {signal: sigReceived, from: 0.5e6, to: 1.5e6},
			{signal: sigCPUHeld, from: 0, to: 0.3}, {signal: sigLoaders, from: 0.35, to: 0.75},
		},
	},
	{
		cause: cpu, part: ofIdle, turn: 3,
		conditions: []condition{
			{signal: sigCPUHeld, from: 0.08, to: 0.4, any: true},
			{signal: sigCPUPressure, from: 0.2, to: 0.5, any: true},
			{signal: sigLoaders, from: 0.35, to: 0.75, any: true},
			{signal: sigOfLoaders, from: 0, to: 1, unknown: 1},
		},
		needs: []signal{sigLoaders, sigCPUPressure, sigReceived, sigIOPressure, sigCounted, sigMeasured},
		doubts: []condition{
			{signal: sigCPUPressure, from: 0.4, to: 0.1}, {signal: sigReceived, from: 0.5e6, to: 1.5e6},
			{signal: sigSmall, from: 0.1, to: 0.3}, {signal: sigIOPressure, from: 0.2, to: 0.5},
		},
		apart: map[event.GpuCause]string{
			network: "bytes received for each busy CPU: " +
				"decoding takes 10 to 40 MB/s, fetching alone 80 MB/s and more",
			storage:   "kubectl orb8 trace resources: waits for devices against waits for CPUs",
			launching: "launches a second: preparing input makes none",
			unknown:   "kubectl orb8 top syscalls: what its threads wait in",
		},
	},
	{
		cause: storage, part: ofIdle, turn: 3,
		conditions: []condition{
			{signal: sigIOPressure, from: 0.25, to: 0.6}, {signal: sigOfLoaders, from: 1, to: 0, unknown: 1},
		},
		needs: []signal{sigIOPressure, sigReceived, sigMeasured},
		doubts: []condition{
			{signal: sigReceived, from: 0.5e6, to: 1.5e6}, {signal: sigSmall, from: 0.2, to: 0.5},
			{signal: sigLoaders, from: 0.2, to: 0.6},
		},
		apart: map[event.GpuCause]string{
			network: "a network file system shows in I/O pressure and as traffic of the node, not of the pod",
			unknown: "kubectl orb8 trace resources: I/O pressure and read latency",
		},
	},
	{
		cause: network, part: ofIdle, turn: 3,
		conditions: []condition{
			{signal: sigReceived, from: 1.2e6, to: 4e6}, {signal: sigPerCore, from: 3e6, to: 30e6, unknown: 1},
			{signal: sigCPUHeld, from: 0.4, to: 0.08, unknown: 1},
			{signal: sigStalled, from: 1.05, to: 0.9, unknown: 1},
		},
		needs: []signal{sigReceived, sigLoaders, sigIOPressure, sigMeasured},
		doubts: []condition{
			{signal: sigReceived, from: 60e6, to: 20e6}, {signal: sigLoaders, from: 0.1, to: 0.5},
			{signal: sigIOPressure, from: 0.2, to: 0.5}, {signal: sigSmall, from: 0.2, to: 0.5},
		},
		apart: map[event.GpuCause]string{
			unknown: "kubectl orb8 trace network: whether the rate is steady while the GPU is idle",
			cpu:     "bytes received for each busy CPU",
		},
	},
	{
		cause: copying, part: ofIdle, turn: 4,
		conditions: []condition{{signal: sigBus, from: 0.7e9, to: 2e9}},
	},
	{
		cause: launching, part: ofIdle, turn: 4,
		conditions: []condition{{signal: sigMostGaps, from: 0, to: 1}},
	},
	{
		cause: throttle, part: ofBusy, turn: 1, ofAll: true,
		conditions: []condition{{signal: sigThrottled, from: 0, to: 1}},
		needs:      []signal{sigThrottled},
		apart: map[event.GpuCause]string{
			compute: "the clock against its highest: a healthy GPU at its power limit keeps 80 to 95 % of it",
			memory:  "the same",
		},
	},
	{
		cause: launching, part: ofBusy, turn: 2, ofAll: true,
		conditions: []condition{{signal: sigUnderused, from: 0, to: 1}, {signal: sigSmall, from: 0, to: 1}},
		needs:      []signal{sigCounted, sigMeasured, sigGPM},
		apart: map[event.GpuCause]string{
			collective: "launches a second: a collective that waits makes none",
			cpu:        "launches a second: preparing input makes none",
			compute:    "a profiler's timeline (Nsight Systems): gaps between kernels",
			unknown:    "calls of the driver's library, which are counted on nodes that allow uprobes",
		},
	},
	{
		cause: collective, part: ofBusy,
		turn: 2, ofAll: true,
		conditions: []condition{
			{signal: sigUnderused, from: 0, to: 1}, {signal: sigSmall, from: 1, to: 0, unknown: 1},
			{signal: sigSeveral, from: 0, to: 1},
		},
		needs:  []signal{sigGPM, sigCounted, sigMeasured},
		doubts: []condition{{signal: sigSmall, from: 0, to: 0.3}, {signal: sigIdle, from: 0.05, to: 0.2}},
		apart: map[event.GpuCause]string{
			launching: "launches a second", compute: "SM, tensor and DRAM activity (GPM, from Hopper on)",
			memory: "SM and DRAM activity (GPM, from Hopper on)",
		},
	},
	{
		cause: collective, part: ofIdle,
		turn: 1,
		conditions: []condition{
			{signal: sigHidden, from: 0, to: 1}, {signal: sigCopyTime, from: 0.5, to: 0, unknown: 1},
			{signal: sigSync, from: 0.5, to: 0.85}, {signal: sigSeveral, from: 0, to: 1},
			{signal: sigSmall, from: 1, to: 0, unknown: 1},
		},
	},
	{
		cause: launching, part: ofBusy, turn: 3, ofAll: true,
		conditions: []condition{
			{signal: sigUnderused, from: 0, to: 1}, {signal: sigSeveral, from: 1, to: 0},
			{signal: sigSmall, from: 0.03, to: 0.2},
		},
	},
	{
		cause: copying, part: ofBusy, turn: 3,
		ofAll: true,
		conditions: []condition{
			{signal: sigUnderused, from: 0, to: 1}, {signal: sigSeveral, from: 1, to: 0},
			{signal: sigCopyTime, from: 0.4, to: 0.9},
		},
	},
	{
		cause: memory, part: ofBusy, turn: 4,
		conditions: []condition{
			{signal: sigDRAM, from: 0.36, to: 0.74}, {signal: sigTensor, from: 0.6, to: 0.3, unknown: 1},
		},
		needs:  []signal{sigGPM, sigThrottled, sigMeasured},
		doubts: []condition{{signal: sigDRAM, from: 0.76, to: 0.62}, {signal: sigUnderused, from: 0.1, to: 0.3}},
		apart: map[event.GpuCause]string{
			compute: "DRAM activity (GPM, from Hopper on), or a roofline of its kernels (Nsight Compute)",
		},
	},
	{cause: compute, part: ofBusy, turn: 5,
		needs:  []signal{sigGPM, sigThrottled, sigMeasured},
		doubts: []condition{{signal: sigDRAM, from: 0.36, to: 0.5}, {signal: sigUnderused, from: 0.1, to: 0.3}},
	},
	{
		cause: unknown, part: ofIdle, turn: 5,
		needs: []signal{sigCounted, sigMeasured, sigLoaders, sigIOPressure, sigReceived, sigCopyTime},
		apart: map[event.GpuCause]string{abandoned: "a longer --window"},
	},
}

// share is the part of its time that a rule's conditions give to it.
func (r *rule) share(v *signalVector) float64 {
	share, strongest, anyOf := 1.0, 0.0, false
	for i := range r.conditions {
		c := &r.conditions[i]
		if x := c.strength(v); c.any {
			anyOf, strongest = true, max(strongest, x)
		} else {
			share *= x
		}
	}
	if anyOf {
		share *= strongest
	}
	return share
}
