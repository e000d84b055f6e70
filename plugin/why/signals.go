package why

// signal names a number that rules use, of one GPU around one slot. All are means over a few seconds, since an
// iteration of a program may take two.
type signal int

// The signals.
const (
	sigBusy signal = iota
	sigIdle
	sigWork
	sigUnderused
	sigSmall
	sigGaps
	sigMostGaps
	sigDRAM
	sigTensor
	sigThrottled
	sigCopyTime
	sigBus
	sigSeveral
	sigCPUHeld
	sigCPUPressure
	sigLoaders
	sigIOPressure
	sigOfLoaders
	sigReceived
	sigPerCore
	sigCounted
	sigShared
	sigMeasured
	sigHidden
	sigSync
	sigStalled
	sigGPM
	signalCount
)

// signalDoc describes a signal.
type signalDoc struct {
	name, unit, doc, source string
}

// signalDocs describe the signals, by number.
var signalDocs = [signalCount]signalDoc{
	sigBusy: {
		"busy", "share of time", "any kernel ran",
		"nvmlDeviceGetUtilizationRates; " +
			"a GPU that others use too: nvmlDeviceGetProcessUtilization, else calls; MIG: SM activity",
	},
	sigIdle: {"idle", "share of time", "no kernel ran", "1 − busy"},
	sigWork: {
		"work", "share of time", "SMs were as full as in good kernels (SM activity ÷ 0.85)",
		"GPM; before Hopper busy time, by how much of it power and memory show",
	},
	sigUnderused: {"underused", "share of time", "kernels ran, and SMs had little to do", "busy − work"},
	sigSmall: {"small kernels", "0 to 1",
		"a kernel takes less GPU time than a launch takes host time (1 at 32 µs or less, 0 from 62 µs on), " +
			"or less than 900 µs (1 at 400) and synchronisations follow each other (0 at 55 a second, 1 at 130)",
		"launches and synchronisations by uprobes at libcuda; " +
			"without them, a busy main thread (CPU time) and a GPU with gaps"},
	sigGaps: {
		"gaps", "share of idle", "the gaps that go with small kernels: at most 1.1 times the underused time",
		"underused, small kernels",
	},
	sigMostGaps: {
		"most gaps", "share of idle", "the gaps that may go with small kernels: at most 2.5 times the underused time",
		"underused, small kernels",
	},
	sigDRAM: {
		"DRAM of work", "share of bandwidth", "while it worked",
		"GPM; before Hopper the share of busy time in which memory was read or written",
	},
	sigTensor: {"tensor of work", "share of time", "tensor cores worked, while it worked", "GPM"},
	sigThrottled: {
		"throttled", "share of samples",
		"power or heat kept the clock under 90 % of its highest (counted in part down to 75 %)",
		"nvmlDeviceGetCurrentClocksEventReasons, nvmlDeviceGetClockInfo, nvmlDeviceGetMaxClockInfo",
	},
	sigCopyTime: {
		"copy time", "share of idle",
		"threads were in copies, or the bus was as busy as copies make it (35 GB/s from Hopper on, 17 GB/s before)",
		"uprobes at libcuda; GPM or PCIe counters",
	},
	sigBus: {"bus", "bytes a second", "over PCIe, both ways", "GPM or PCIe counters; else bytes of copies"},
	sigSeveral: {
		"several", "0 or 1", "the program has several GPUs, or its workload several pods, or it calls NCCL",
		"NVML's processes; names; uprobes at libnccl",
	},
	sigCPUHeld:     {"held back", "share of periods", "the CPU limit was used up", "cpu.stat"},
	sigCPUPressure: {"CPU pressure", "share of time", "some task waited for a CPU", "PSI"},
	sigLoaders: {
		"loaders", "CPUs for each GPU's idle time",
		"CPU time beyond one thread for each GPU that is not idle, and beyond what fetching takes (a CPU for 80 MB/s)",
		"cpu.stat, flows",
	},
	sigIOPressure: {
		"I/O pressure", "share of idle", "some task waited for a block device or file system",
		"PSI; else reads that were under way",
	},
	sigOfLoaders: {
		"computing loaders", "share of loaders",
		"CPUs in use beyond the main threads, of these and the reads under way", "cpu.stat, block layer",
	},
	sigReceived: {
		"received", "bytes a second", "over the network from elsewhere than the workload's own pods, whole pod",
		"flows",
	},
	sigHidden: {
		"hidden", "0 or 1", "kernels that use few SMs do not show: a MIG device",
		"NVML reports no utilisation of MIG devices",
	},
	sigSync:    {"synchronisation", "threads", "threads blocked in synchronisation, mean", "uprobes at libcuda"},
	sigGPM:     {"GPM", "1", "activity of SMs is known", "GPM: Hopper and newer"},
	sigStalled: {"stalled", "share of time", "some task waited for a block device or file system", "PSI"},
	sigCounted: {"calls", "1", "calls of the driver's library are counted", "uprobes at libcuda"},
	sigShared:  {"shared", "0 or 1", "others have processes on the GPU", "NVML's processes"},
	sigMeasured: {
		"utilisation", "1", "it is known when a kernel ran",
		"NVML; not for MIG devices, nor for one process among several where the driver has no process utilisation",
	},
	sigPerCore: {"received per CPU", "bytes a second", "for each CPU that loaders keep busy", "flows, cpu.stat"},
}
