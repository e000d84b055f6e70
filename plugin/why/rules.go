package why

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// The parts. Idle and busy time together are the window.
const (
	ofWindow = engine.OfWindow
	// ofIdle is the time in which no kernel ran, ofBusy that in which one ran.
	ofIdle, ofBusy engine.Part = 1, 2
)

// partNames are those of the parts, by number.
var partNames = []string{"whole window", "idle time", "busy time"}

type (
	rule      = engine.Rule[event.GpuCause, signal]
	condition = engine.Condition[signal]
	ruleTable = engine.Table[event.GpuCause, signal]
	tally     = engine.Tally[event.GpuCause, signal]
)

// causeCount is how many causes there are.
const causeCount = int(event.GpuCause_GPU_CAUSE_SICK) + 1

func newRuleTable(rules []rule) *ruleTable {
	return engine.NewTable(rules, causeCount, sigIdle, sigBusy)
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
		Cause: sick, Part: ofWindow,
		When: "an XID of the hardware, uncorrected ECC errors that grow, or a GPU that is lost, in the window",
		Apart: map[event.GpuCause]string{
			compute: "nvidia-smi -q on the node, and the kernel's log",
		},
	},
	{
		Cause: abandoned, Part: ofWindow,
		When: "no launch, copy or synchronisation in the window; where calls are not counted: " +
			"no kernel ran, less than 0.05 CPUs a GPU, less than 1 MB/s received",
		Needs: []signal{sigCounted},
		Apart: map[event.GpuCause]string{unknown: "a longer --window: one that works now and then shows it"},
	},
	{
		Cause: copying, Part: ofIdle, Turn: 1,
		Conditions: []condition{{Signal: sigCopyTime, From: 0, To: 1}},
		Needs:      []signal{sigCopyTime, sigBus, sigCounted, sigMeasured, sigIOPressure, sigLoaders},
		Doubts: []condition{
			{Signal: sigCopyTime, From: 0.8, To: 0.5}, {Signal: sigIOPressure, From: 0.2, To: 0.5},
			{Signal: sigReceived, From: 0.5e6, To: 1.5e6}, {Signal: sigCPUHeld, From: 0, To: 0.3},
			{Signal: sigLoaders, From: 0.35, To: 0.75}, {Signal: sigSmall, From: 0, To: 0.3},
		},
		Apart: map[event.GpuCause]string{
			launching: "how large a copy is: many small ones are a matter of launches",
			network:   "pinned memory and copies beside the computation would take this part away",
			cpu:       "pinned memory: pageable copies keep a CPU busy",
		},
	},
	{
		Cause: launching, Part: ofIdle, Turn: 1,
		Conditions: []condition{{Signal: sigGaps, From: 0, To: 1}},
		Needs:      []signal{sigCounted, sigMeasured, sigLoaders, sigIOPressure},
		Doubts: []condition{
			{Signal: sigGaps, From: 0.5, To: 0.2}, {Signal: sigCopyTime, From: 0, To: 0.4},
			{Signal: sigIOPressure, From: 0.1, To: 0.4}, {Signal: sigReceived, From: 0.5e6, To: 1.5e6},
			{Signal: sigCPUHeld, From: 0, To: 0.3}, {Signal: sigLoaders, From: 0.35, To: 0.75},
		},
	},
	{
		Cause: cpu, Part: ofIdle, Turn: 3,
		Conditions: []condition{
			{Signal: sigCPUHeld, From: 0.08, To: 0.4, Any: true},
			{Signal: sigCPUPressure, From: 0.2, To: 0.5, Any: true},
			{Signal: sigLoaders, From: 0.35, To: 0.75, Any: true},
			{Signal: sigOfLoaders, From: 0, To: 1, Unknown: 1},
		},
		Needs: []signal{sigLoaders, sigCPUPressure, sigReceived, sigIOPressure, sigCounted, sigMeasured},
		Doubts: []condition{
			{Signal: sigCPUPressure, From: 0.4, To: 0.1}, {Signal: sigReceived, From: 0.5e6, To: 1.5e6},
			{Signal: sigSmall, From: 0.1, To: 0.3}, {Signal: sigIOPressure, From: 0.2, To: 0.5},
		},
		Apart: map[event.GpuCause]string{
			network: "bytes received for each busy CPU: " +
				"decoding takes 10 to 40 MB/s, fetching alone 80 MB/s and more",
			storage:   "kubectl orb8 trace resources: waits for devices against waits for CPUs",
			launching: "launches a second: preparing input makes none",
			unknown:   "kubectl orb8 top syscalls: what its threads wait in",
		},
	},
	{
		Cause: storage, Part: ofIdle, Turn: 3,
		Conditions: []condition{
			{Signal: sigIOPressure, From: 0.25, To: 0.6}, {Signal: sigOfLoaders, From: 1, To: 0, Unknown: 1},
		},
		Needs: []signal{sigIOPressure, sigReceived, sigMeasured},
		Doubts: []condition{
			{Signal: sigReceived, From: 0.5e6, To: 1.5e6}, {Signal: sigSmall, From: 0.2, To: 0.5},
			{Signal: sigLoaders, From: 0.2, To: 0.6},
		},
		Apart: map[event.GpuCause]string{
			network: "a network file system shows in I/O pressure and as traffic of the node, not of the pod",
			unknown: "kubectl orb8 trace resources: I/O pressure and read latency",
		},
	},
	{
		Cause: network, Part: ofIdle, Turn: 3,
		Conditions: []condition{
			{Signal: sigReceived, From: 1.2e6, To: 4e6}, {Signal: sigPerCore, From: 3e6, To: 30e6, Unknown: 1},
			{Signal: sigCPUHeld, From: 0.4, To: 0.08, Unknown: 1},
			{Signal: sigStalled, From: 1.05, To: 0.9, Unknown: 1},
		},
		Needs: []signal{sigReceived, sigLoaders, sigIOPressure, sigMeasured},
		Doubts: []condition{
			{Signal: sigReceived, From: 60e6, To: 20e6}, {Signal: sigLoaders, From: 0.1, To: 0.5},
			{Signal: sigIOPressure, From: 0.2, To: 0.5}, {Signal: sigSmall, From: 0.2, To: 0.5},
		},
		Apart: map[event.GpuCause]string{
			unknown: "kubectl orb8 trace network: whether the rate is steady while the GPU is idle",
			cpu:     "bytes received for each busy CPU",
		},
	},
	{
		Cause: copying, Part: ofIdle, Turn: 4,
		Conditions: []condition{{Signal: sigBus, From: 0.7e9, To: 2e9}},
	},
	{
		Cause: launching, Part: ofIdle, Turn: 4,
		Conditions: []condition{{Signal: sigMostGaps, From: 0, To: 1}},
	},
	{
		Cause: throttle, Part: ofBusy, Turn: 1, OfAll: true,
		Conditions: []condition{{Signal: sigThrottled, From: 0, To: 1}},
		Needs:      []signal{sigThrottled},
		Apart: map[event.GpuCause]string{
			compute: "the clock against its highest: a healthy GPU at its power limit keeps 80 to 95 % of it",
			memory:  "the same",
		},
	},
	{
		Cause: launching, Part: ofBusy, Turn: 2, OfAll: true,
		Conditions: []condition{{Signal: sigUnderused, From: 0, To: 1}, {Signal: sigSmall, From: 0, To: 1}},
		Needs:      []signal{sigCounted, sigMeasured, sigGPM},
		Apart: map[event.GpuCause]string{
			collective: "launches a second: a collective that waits makes none",
			cpu:        "launches a second: preparing input makes none",
			compute:    "a profiler's timeline (Nsight Systems): gaps between kernels",
			unknown:    "calls of the driver's library, which are counted on nodes that allow uprobes",
		},
	},
	{
		Cause: collective, Part: ofBusy,
		Turn: 2, OfAll: true,
		Conditions: []condition{
			{Signal: sigUnderused, From: 0, To: 1}, {Signal: sigSmall, From: 1, To: 0, Unknown: 1},
			{Signal: sigSeveral, From: 0, To: 1},
		},
		Needs:  []signal{sigGPM, sigCounted, sigMeasured},
		Doubts: []condition{{Signal: sigSmall, From: 0, To: 0.3}, {Signal: sigIdle, From: 0.05, To: 0.2}},
		Apart: map[event.GpuCause]string{
			launching: "launches a second", compute: "SM, tensor and DRAM activity (GPM, from Hopper on)",
			memory: "SM and DRAM activity (GPM, from Hopper on)",
		},
	},
	{
		Cause: collective, Part: ofIdle,
		Turn: 1,
		Conditions: []condition{
			{Signal: sigHidden, From: 0, To: 1}, {Signal: sigCopyTime, From: 0.5, To: 0, Unknown: 1},
			{Signal: sigSync, From: 0.5, To: 0.85}, {Signal: sigSeveral, From: 0, To: 1},
			{Signal: sigSmall, From: 1, To: 0, Unknown: 1},
		},
	},
	{
		Cause: launching, Part: ofBusy, Turn: 3, OfAll: true,
		Conditions: []condition{
			{Signal: sigUnderused, From: 0, To: 1}, {Signal: sigSeveral, From: 1, To: 0},
			{Signal: sigSmall, From: 0.03, To: 0.2},
		},
	},
	{
		Cause: copying, Part: ofBusy, Turn: 3,
		OfAll: true,
		Conditions: []condition{
			{Signal: sigUnderused, From: 0, To: 1}, {Signal: sigSeveral, From: 1, To: 0},
			{Signal: sigCopyTime, From: 0.4, To: 0.9},
		},
	},
	{
		Cause: memory, Part: ofBusy, Turn: 4,
		Conditions: []condition{
			{Signal: sigDRAM, From: 0.36, To: 0.74}, {Signal: sigTensor, From: 0.6, To: 0.3, Unknown: 1},
		},
		Needs:  []signal{sigGPM, sigThrottled, sigMeasured},
		Doubts: []condition{{Signal: sigDRAM, From: 0.76, To: 0.62}, {Signal: sigUnderused, From: 0.1, To: 0.3}},
		Apart: map[event.GpuCause]string{
			compute: "DRAM activity (GPM, from Hopper on), or a roofline of its kernels (Nsight Compute)",
		},
	},
	{Cause: compute, Part: ofBusy, Turn: 5,
		Needs:  []signal{sigGPM, sigThrottled, sigMeasured},
		Doubts: []condition{{Signal: sigDRAM, From: 0.36, To: 0.5}, {Signal: sigUnderused, From: 0.1, To: 0.3}},
	},
	{
		Cause: unknown, Part: ofIdle, Turn: 5,
		Needs: []signal{sigCounted, sigMeasured, sigLoaders, sigIOPressure, sigReceived, sigCopyTime},
		Apart: map[event.GpuCause]string{abandoned: "a longer --window"},
	},
}
