package why

import "github.com/orb8-dev/kubectl-orb8/event"

// Part is the time that a rule is of.
type Part int

// The parts. Together they are the window.
const (
	// Whole is all of the window: such rules look at it as a whole, and go before all others.
	Whole Part = iota
	// OfIdle is the time in which no kernel ran.
	OfIdle
	// OfBusy is the time in which one ran.
	OfBusy
)

// signal is how much of the time the part is.
func (p Part) signal() Signal {
	if p == OfBusy {
		return Busy
	}
	return Idle
}

// lastTurn is the turn of the rules that take what is left.
const lastTurn = 5

func (p Part) String() string { return []string{"all of the window", "idle time", "busy time"}[p] }

// Condition is a signal with its thresholds: 0 at From, 1 at To, between them in proportion.
type Condition struct {
	Signal   Signal
	From, To float64
	// Unknown stands for a signal that is not known.
	Unknown float64
	// Any: of the rule's conditions so marked, the strongest counts.
	Any bool
}

// Rule says which part of which time goes to a cause.
type Rule struct {
	Cause event.GpuCause
	// Words are for people, after "consistent with".
	Words string
	Part  Part
	// Turn: rules of an earlier turn take their part of the time first; those of one turn share what is left.
	Turn int
	// Conditions multiply to the share of the part that the rule takes.
	Conditions []Condition
	// OfAll: what the conditions come to is a share of all the time, not of the part.
	OfAll bool
	// Whole rules: what they look at, in words.
	When string
	// Needs are the signals without which a verdict for this cause is never sure.
	Needs []Signal
	// Doubts: where one of them holds by half or more, a verdict for this cause is of medium confidence at most.
	Doubts []Condition
	// Apart says what would tell it apart from its neighbours.
	Apart map[event.GpuCause]string
}

// Short names for the table.
const (
	unknown    = event.GpuCause_GPU_CAUSE_UNKNOWN
	abandoned  = event.GpuCause_GPU_CAUSE_ABANDONED
	network    = event.GpuCause_GPU_CAUSE_NETWORK
	storage    = event.GpuCause_GPU_CAUSE_STORAGE
	processor  = event.GpuCause_GPU_CAUSE_CPU
	launching  = event.GpuCause_GPU_CAUSE_LAUNCH
	copying    = event.GpuCause_GPU_CAUSE_COPY
	collective = event.GpuCause_GPU_CAUSE_COLLECTIVE
	memory     = event.GpuCause_GPU_CAUSE_MEMORY
	compute    = event.GpuCause_GPU_CAUSE_COMPUTE
	throttle   = event.GpuCause_GPU_CAUSE_THROTTLE
	sick       = event.GpuCause_GPU_CAUSE_SICK
)

// Rules is the table.
var Rules = []Rule{
	{
		Cause: sick, Words: "a GPU that fails: the driver reports errors of the device", Part: Whole,
		When: "an XID of the hardware, uncorrected ECC errors that grow, or a GPU that is lost, in the window",
		Apart: map[event.GpuCause]string{
			compute: "nvidia-smi -q on the node, and the kernel's log",
		},
	},
	{
		Cause: abandoned,
		Words: "memory that is held, with nothing asked of the driver: a program that has been left or waits for work",
		Part:  Whole,
		When:  "no launch, copy or synchronisation in the window; where calls are not counted: no kernel ran, less than 0.05 CPUs a GPU, less than 1 MB/s received",
		Needs: []Signal{Counted},
		Apart: map[event.GpuCause]string{unknown: "a longer --window: one that works now and then shows it"},
	},
	{
		Cause: copying, Words: "copies between host and device that the GPU waits for", Part: OfIdle, Turn: 1,
		Conditions: []Condition{{Signal: CopyTime, From: 0, To: 1}},
		Needs:      []Signal{CopyTime, Bus, Counted, Measured, IOPressure, Loaders},
		Doubts: []Condition{
			{Signal: CopyTime, From: 0.8, To: 0.5}, {Signal: IOPressure, From: 0.2, To: 0.5},
			{Signal: Received, From: 0.5e6, To: 1.5e6}, {Signal: CPUHeld, From: 0, To: 0.3},
			{Signal: Loaders, From: 0.35, To: 0.75}, {Signal: Small, From: 0, To: 0.3},
		},
		Apart: map[event.GpuCause]string{
			launching: "how large a copy is: many small ones are a matter of launches",
			network:   "pinned memory and copies beside the computation would take this part away",
			processor: "pinned memory: pageable copies keep a CPU busy",
		},
	},
	{
		Cause: launching, Words: "many small kernels or synchronisations: one thread of the host sets the pace",
		Part: OfIdle, Turn: 1,
		Conditions: []Condition{{Signal: Gaps, From: 0, To: 1}},
		Needs:      []Signal{Counted, Measured, Loaders, IOPressure},
		Doubts: []Condition{
			{Signal: Gaps, From: 0.5, To: 0.2}, {Signal: CopyTime, From: 0, To: 0.4},
			{Signal: IOPressure, From: 0.1, To: 0.4}, {Signal: Received, From: 0.5e6, To: 1.5e6},
			{Signal: CPUHeld, From: 0, To: 0.3}, {Signal: Loaders, From: 0.35, To: 0.75},
		},
	},
	{
		Cause: processor, Words: "input that CPUs make ready: they have no more time to give", Part: OfIdle, Turn: 3,
		Conditions: []Condition{
			{Signal: CPUHeld, From: 0.08, To: 0.4, Any: true}, {Signal: CPUPressure, From: 0.2, To: 0.5, Any: true},
			{Signal: Loaders, From: 0.35, To: 0.75, Any: true},
			{Signal: OfLoaders, From: 0, To: 1, Unknown: 1},
		},
		Needs: []Signal{Loaders, CPUPressure, Received, IOPressure, Counted, Measured},
		Doubts: []Condition{
			{Signal: CPUPressure, From: 0.4, To: 0.1}, {Signal: Received, From: 0.5e6, To: 1.5e6},
			{Signal: Small, From: 0.1, To: 0.3}, {Signal: IOPressure, From: 0.2, To: 0.5},
		},
		Apart: map[event.GpuCause]string{
			network:   "bytes received for each busy CPU: decoding takes 10 to 40 MB/s, fetching alone 80 MB/s and more",
			storage:   "kubectl orb8 trace resources: waits for devices against waits for CPUs",
			launching: "launches a second: preparing input makes none",
			unknown:   "kubectl orb8 top syscalls: what its threads wait in",
		},
	},
	{
		Cause: storage, Words: "input from block devices or file systems that is waited for", Part: OfIdle, Turn: 3,
		Conditions: []Condition{
			{Signal: IOPressure, From: 0.25, To: 0.6}, {Signal: OfLoaders, From: 1, To: 0, Unknown: 1},
		},
		Needs: []Signal{IOPressure, Received, Measured},
		Doubts: []Condition{
			{Signal: Received, From: 0.5e6, To: 1.5e6}, {Signal: Small, From: 0.2, To: 0.5},
			{Signal: Loaders, From: 0.2, To: 0.6},
		},
		Apart: map[event.GpuCause]string{
			network: "a network file system shows in I/O pressure and as traffic of the node, not of the pod",
			unknown: "kubectl orb8 trace resources: I/O pressure and read latency",
		},
	},
	{
		Cause: network, Words: "input that is waited for over the network", Part: OfIdle, Turn: 3,
		Conditions: []Condition{
			{Signal: Received, From: 1.2e6, To: 4e6}, {Signal: PerCore, From: 3e6, To: 30e6, Unknown: 1},
			{Signal: CPUHeld, From: 0.4, To: 0.08, Unknown: 1}, {Signal: Stalled, From: 1.05, To: 0.9, Unknown: 1},
		},
		Needs: []Signal{Received, Loaders, IOPressure, Measured},
		Doubts: []Condition{
			{Signal: Received, From: 60e6, To: 20e6}, {Signal: Loaders, From: 0.1, To: 0.5},
			{Signal: IOPressure, From: 0.2, To: 0.5}, {Signal: Small, From: 0.2, To: 0.5},
		},
		Apart: map[event.GpuCause]string{
			unknown:   "kubectl orb8 trace network: whether the rate is steady while the GPU is idle",
			processor: "bytes received for each busy CPU",
		},
	},
	{
		Cause: copying, Words: "copies between host and device that the GPU waits for", Part: OfIdle, Turn: 4,
		Conditions: []Condition{{Signal: Bus, From: 0.7e9, To: 2e9}},
	},
	{
		Cause: launching, Words: "many small kernels or synchronisations: one thread of the host sets the pace",
		Part: OfIdle, Turn: 4,
		Conditions: []Condition{{Signal: MostGaps, From: 0, To: 1}},
	},
	{
		Cause: throttle, Words: "clocks that power or heat keeps down", Part: OfBusy, Turn: 1, OfAll: true,
		Conditions: []Condition{{Signal: Throttled, From: 0, To: 1}},
		Needs:      []Signal{Throttled},
		Apart: map[event.GpuCause]string{
			compute: "the clock against its highest: a healthy GPU at its power limit keeps 80 to 95 % of it",
			memory:  "the same",
		},
	},
	{
		Cause: launching, Words: "many small kernels or synchronisations: one thread of the host sets the pace",
		Part: OfBusy, Turn: 2, OfAll: true,
		Conditions: []Condition{{Signal: Underused, From: 0, To: 1}, {Signal: Small, From: 0, To: 1}},
		Needs:      []Signal{Counted, Measured, GPM},
		Apart: map[event.GpuCause]string{
			collective: "launches a second: a collective that waits makes none",
			processor:  "launches a second: preparing input makes none",
			compute:    "a profiler's timeline (Nsight Systems): gaps between kernels",
			unknown:    "calls of the driver's library, which are counted on nodes that allow uprobes",
		},
	},
	{
		Cause: collective, Words: "a collective operation that waits for other GPUs, and spins meanwhile", Part: OfBusy,
		Turn: 2, OfAll: true,
		Conditions: []Condition{
			{Signal: Underused, From: 0, To: 1}, {Signal: Small, From: 1, To: 0, Unknown: 1},
			{Signal: Several, From: 0, To: 1},
		},
		Needs:  []Signal{GPM, Counted, Measured},
		Doubts: []Condition{{Signal: Small, From: 0, To: 0.3}, {Signal: Idle, From: 0.05, To: 0.2}},
		Apart: map[event.GpuCause]string{
			launching: "launches a second", compute: "SM, tensor and DRAM activity (GPM, from Hopper on)",
			memory: "SM and DRAM activity (GPM, from Hopper on)",
		},
	},
	{
		Cause: collective, Words: "a collective operation that waits for other GPUs, and spins meanwhile", Part: OfIdle,
		Turn: 1,
		Conditions: []Condition{
			{Signal: Hidden, From: 0, To: 1}, {Signal: CopyTime, From: 0.5, To: 0, Unknown: 1},
			{Signal: Sync, From: 0.5, To: 0.85}, {Signal: Several, From: 0, To: 1},
			{Signal: Small, From: 1, To: 0, Unknown: 1},
		},
	},
	{
		Cause: launching, Words: "many small kernels or synchronisations: one thread of the host sets the pace",
		Part: OfBusy, Turn: 3, OfAll: true,
		Conditions: []Condition{
			{Signal: Underused, From: 0, To: 1}, {Signal: Several, From: 1, To: 0},
			{Signal: Small, From: 0.03, To: 0.2},
		},
	},
	{
		Cause: copying, Words: "copies between host and device that the GPU waits for", Part: OfBusy, Turn: 3,
		OfAll: true,
		Conditions: []Condition{
			{Signal: Underused, From: 0, To: 1}, {Signal: Several, From: 1, To: 0},
			{Signal: CopyTime, From: 0.4, To: 0.9},
		},
	},
	{
		Cause: memory, Words: "work that goes as fast as the GPU's memory: healthy", Part: OfBusy, Turn: 4,
		Conditions: []Condition{{Signal: DRAM, From: 0.36, To: 0.74}, {Signal: Tensor, From: 0.6, To: 0.3, Unknown: 1}},
		Needs:      []Signal{GPM, Throttled, Measured},
		Doubts:     []Condition{{Signal: DRAM, From: 0.76, To: 0.62}, {Signal: Underused, From: 0.1, To: 0.3}},
		Apart: map[event.GpuCause]string{
			compute: "DRAM activity (GPM, from Hopper on), or a roofline of its kernels (Nsight Compute)",
		},
	},
	{Cause: compute, Words: "work that goes as fast as the GPU computes: healthy", Part: OfBusy, Turn: 5,
		Needs:  []Signal{GPM, Throttled, Measured},
		Doubts: []Condition{{Signal: DRAM, From: 0.36, To: 0.5}, {Signal: Underused, From: 0.1, To: 0.3}},
	},
	{
		Cause: unknown, Words: "idle, and nothing that orb8 sees says why", Part: OfIdle, Turn: 5,
		Needs: []Signal{Counted, Measured, Loaders, IOPressure, Received, CopyTime},
		Apart: map[event.GpuCause]string{abandoned: "a longer --window"},
	},
}

// takes is the share of its part that a rule's conditions leave to it.
func (r *Rule) takes(m *moment) float64 {
	strength, any, has := 1.0, 0.0, false
	for i := range r.Conditions {
		c := &r.Conditions[i]
		x := c.Unknown
		if known(m[c.Signal]) {
			x = ramp(m[c.Signal], c.From, c.To)
		}
		if c.Any {
			has, any = true, max(any, x)
		} else {
			strength *= x
		}
	}
	if has {
		strength *= any
	}
	return strength
}
