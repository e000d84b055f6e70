package pods

// Ramps: the share of a signal is 0 at the first threshold and 1 at the second.
const (
	// Enforcement periods with the quota used up. Below a tenth, a limit cuts peaks; Kubernetes' own alert
	// (CPUThrottlingHigh of kubernetes-mixin) begins at a quarter.
	throttledLow, throttledHigh = 0.1, 0.35
	// Runnable time spent waiting for a CPU. Two tasks for each CPU make it a half.
	cpuWaitLow, cpuWaitHigh = 0.4, 0.7
	// Time in which the node's CPUs are busy, mean of all. Threads of one program wait for each other's CPU also where
	// others are idle, and a thread that sleeps for some µs at a time, as a runtime's monitor, waits at each wake-up.
	nodeLow, nodeHigh = 0.75, 0.9
	// Tasks that wait for a CPU, mean over time. A pod that hardly wants a CPU is not held back by waiting for it.
	runQueueLow, runQueueHigh = 0.2, 0.5
	// Time with memory pressure (PSI some): pages were missing that had been in memory. Reads of a disk alone make
	// none. A program that reads the same pages again and again waits mostly for the disk, which PSI counts as I/O.
	memoryPressureLow, memoryPressureHigh = 0.02, 0.06
	// Memory in use, of the limit. The cache of files may fill it without harm.
	memoryLow, memoryHigh = 0.9, 0.97
	// Time with I/O pressure (PSI some).
	ioPressureLow, ioPressureHigh = 0.15, 0.5
	// Lookups without an answer: resolvers wait 5 s for each.
	dnsUnansweredLow, dnsUnansweredHigh = 0.02, 0.15
	// Median time to a DNS answer, s. A server in the cluster answers from its cache within 1 ms, from others within
	// 30 ms.
	dnsLatencyLow, dnsLatencyHigh = 0.03, 0.08
	// Lookups of the search path, of all, and a second. An ordinary external name costs three in four: only many of
	// them matter.
	dnsWastedLow, dnsWastedHigh         = 0.4, 0.7
	dnsWastedRateLow, dnsWastedRateHigh = 5, 15
	// Lookups of names that do not exist.
	dnsNotFoundLow, dnsNotFoundHigh = 0.1, 0.5
	// Attempts to one peer that came to nothing; connections that were reset.
	failedLow, failedHigh = 0.02, 0.25
	// Attempts without a local port, and attempts that found a full queue.
	noPortLow, noPortHigh           = 0, 0.05
	notAcceptedLow, notAcceptedHigh = 0.01, 0.1
	// Segments retransmitted. A data centre's network loses less than one in ten thousand.
	lossLow, lossHigh = 0.002, 0.01
	// Median time to a response, s. In a cluster, most take some ms. Who waits for seconds does so by intention, as in
	// a long poll or a blocking pop of a queue: a poll of Amazon SQS takes up to 20 s, one of Redis BLPOP any time.
	responseLow, responseHigh         = 0.015, 0.04
	intendedLow, intendedHigh         = 2, 4
	responseWaitLow, responseWaitHigh = 0.05, 0.25
	// Context switches for each CPU-second of a program whose threads wait for each other.
	switchesLow, switchesHigh = 8000, 12000
	// Threads that wait for a mutex, mean over time. Samples may take one thread that waits for the end of another for
	// such a thread (bpf/resources/locks.h). Two mean that at least three threads want one lock all the time.
	lockWaitersLow, lockWaitersHigh = 1, 2
	// Time at locks. A program that works on 20 CPUs while two of its threads wait for a lock is not held back by it.
	// A lock that is held for half of the work of four threads makes it a half.
	lockedLow, lockedHigh = 0.2, 0.4
	// Tasks that wait for a CPU while others wait for a lock. One lock has one holder: from one task on, its waiting
	// for a CPU may be all that the others wait for.
	holdersLow, holdersHigh = 0.5, 1.5
	// CPU time of a pod that works, of the limit or of a CPU.
	busyLow, busyHigh = 0.2, 0.5
)

const (
	// minCPU is CPUs, running and waiting together, below which their ratio is noise.
	minCPU = 0.05
	// minAttempts is how many failures of one kind are believed; fewer count in proportion.
	minAttempts = 3
	// minLookups is how many lookups are needed for a share of them.
	minLookups = 3
	// minResponses is how many responses of a peer are needed for their median.
	minResponses = 3
	// minSegments is how many segments, and minRetransmits how many of them retransmitted, show losses.
	minSegments, minRetransmits = 50, 3
)
