package why

// What the signals are derived with. Shares are of time unless stated otherwise. The numbers were tuned on simulated
// programs (internal/scenario), and follow from what each comment names.
const (
	// reach is how many slots on either side a mean takes in: an iteration of a program may take two seconds.
	reach = 2
	// minShare, minIdle and minCopyIdle are the least shares that others are divided by: below them, the quotient is
	// noise.
	minShare, minIdle, minCopyIdle = 0.02, 0.05, 0.01

	// goodFill is how full SMs are in kernels that use them well, spinFill in kernels that wait for other GPUs, and
	// smallFill in small ones.
	goodFill, spinFill, smallFill = 0.85, 0.15, 0.29
	// drawnIdle is the power of an idle GPU, as a share of its limit.
	drawnIdle = 0.19
	// partlyMeasured is the share of idle time that small kernels take where utilisation is not measured.
	partlyMeasured = 0.45

	// clockHealthy and clockThrottled are shares of the highest clock: the least that a GPU at its own power limit
	// keeps, and the most that a throttled one has.
	clockHealthy, clockThrottled = 0.9, 0.75

	// smallKernel and largeKernel are the GPU time of each launch, µs: a launch takes the host that long.
	smallKernel, largeKernel = 32, 62
	// smallSynced and largeSynced are the same, µs, where the program synchronises all the time.
	smallSynced, largeSynced = 400, 900
	// smallLagging and largeLagging are the same, µs, where the host does not wait for the GPU.
	smallLagging, largeLagging = 300, 700
	// rareSyncs and manySyncs are synchronisations a second.
	rareSyncs, manySyncs = 55, 130
	// quietLaunches is how many launches a second, beside good kernels, make no small ones.
	quietLaunches = 6000
	// severalDoubt lowers the evidence of small kernels without counted calls: several GPUs may wait for each other.
	severalDoubt = 0.7

	// gapRatio and maxGapRatio are how much idle time goes, and may go, with the underused time of small kernels.
	gapRatio, maxGapRatio = 1.1, 2.5
	// hostMargin is added to the time that the main thread is known to be busy or in synchronisation.
	hostMargin = 0.05

	// linkGPM and linkNoGPM are what copies of pinned memory reach, bytes a second: PCIe 5 and 4.
	linkGPM, linkNoGPM = 35e9, 17e9
	// linkPageable is what copies of pageable memory reach, bytes a second.
	linkPageable = 6e9
	// someCopies and manyCopies are bytes a second over the bus: less is no matter of copies.
	someCopies, manyCopies = 0.4e9, 0.8e9
	// fewCopied is bytes a second of counted copies: below it, copies are many small ones, a matter of launches.
	fewCopied = 50e6
	// pageableIdle and pageableMargin are how much longer than the idle time pageable copies may take, as a factor and
	// a share of time: they overlap with work.
	pageableIdle, pageableMargin = 1.35, 0.05

	// fetching is how many bytes a second one CPU receives, decrypts and copies, at the least.
	fetching = 80e6
	// perCoreIdle is the loaders' CPU time, of the idle time, from which bytes per CPU are meaningful.
	perCoreIdle = 0.3
	// fewReads and someReads are mean numbers of reads in flight: from fewReads on they count as known, from someReads
	// on they replace I/O pressure where PSI is missing.
	fewReads, someReads = 0.02, 0.05
	// mostOfLoaders is how many loaders wait for devices at full I/O pressure; the others may compute for them.
	mostOfLoaders = 0.75

	// An untouched GPU: its share of busy time, the CPUs of its pod (for each GPU; and the pod's on a shared GPU), and
	// the bytes a second that the pod receives, are all below these.
	untouchedBusy, untouchedCPU, untouchedSharedCPU, untouchedReceived = 0.005, 0.05, 0.03, 1e6
)

// Ramps: the share of a signal is 0 at the first threshold and 1 at the second.
const (
	// DRAM activity at which it alone shows work.
	dramNoWork, dramWork = 0.03, 0.78
	// Power of busy time, as a share of the limit, in kernels that work little and well.
	powerLow, powerHigh = 0.36, 0.88
	// Power over all time, as a share of the limit, beside small kernels.
	drawnLow, drawnHigh = 0.34, 0.85
	// The share of busy time in which memory is read or written, in kernels that work well, and beside small ones.
	memoryLow, memoryHigh           = 0.05, 0.36
	memoryDenseLow, memoryDenseHigh = 0.15, 0.6
	// A host that lags behind: the underused share of busy time, and the synchronisation of busy time.
	lagUnderusedLow, lagUnderusedHigh = 0.2, 0.4
	lagSyncMost, lagSyncLeast         = 0.65, 0.35
	// Small kernels without counted calls: CPUs of the main thread, idle time, and underused share of busy time.
	hostCPULow, hostCPUHigh             = 0.5, 0.85
	hostIdleLow, hostIdleHigh           = 0.05, 0.2
	hostUnderusedLow, hostUnderusedHigh = 0.12, 0.35
	// I/O pressure of idle time at which loaders wait for devices.
	loaderIOLow, loaderIOHigh = 0.25, 0.6
)
