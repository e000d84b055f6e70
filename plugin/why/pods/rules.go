package pods

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// ofAll is the only part: all of the window's time.
const ofAll engine.Part = 1

type (
	rule      = engine.Rule[event.PodCause, signal]
	condition = engine.Condition[signal]
	ruleTable = engine.Table[event.PodCause, signal]
)

// Short names of causes, for the table.
const (
	unknown        = event.PodCause_POD_CAUSE_UNKNOWN
	idle           = event.PodCause_POD_CAUSE_IDLE
	busy           = event.PodCause_POD_CAUSE_BUSY
	cpuLimit       = event.PodCause_POD_CAUSE_CPU_LIMIT
	crowdedNode    = event.PodCause_POD_CAUSE_CROWDED_NODE
	memoryLimit    = event.PodCause_POD_CAUSE_MEMORY_LIMIT
	oomKilled      = event.PodCause_POD_CAUSE_OOM_KILLED
	memoryPressure = event.PodCause_POD_CAUSE_MEMORY_PRESSURE
	diskWait       = event.PodCause_POD_CAUSE_DISK_WAIT
	dnsTimeout     = event.PodCause_POD_CAUSE_DNS_TIMEOUT
	dnsSlow        = event.PodCause_POD_CAUSE_DNS_SLOW
	dnsSearch      = event.PodCause_POD_CAUSE_DNS_SEARCH
	dnsNotFound    = event.PodCause_POD_CAUSE_DNS_NOT_FOUND
	refused        = event.PodCause_POD_CAUSE_REFUSED
	wrongPort      = event.PodCause_POD_CAUSE_WRONG_PORT
	noEndpoints    = event.PodCause_POD_CAUSE_NO_ENDPOINTS
	unanswered     = event.PodCause_POD_CAUSE_UNANSWERED
	reset          = event.PodCause_POD_CAUSE_RESET
	backlogFull    = event.PodCause_POD_CAUSE_BACKLOG_FULL
	policyDrop     = event.PodCause_POD_CAUSE_POLICY_DROP
	packetLoss     = event.PodCause_POD_CAUSE_PACKET_LOSS
	slowPeer       = event.PodCause_POD_CAUSE_SLOW_PEER
	churn          = event.PodCause_POD_CAUSE_CHURN
	crash          = event.PodCause_POD_CAUSE_CRASH
	missingFile    = event.PodCause_POD_CAUSE_MISSING_FILE
	permission     = event.PodCause_POD_CAUSE_PERMISSION
	probeFailing   = event.PodCause_POD_CAUSE_PROBE_FAILING
	lock           = event.PodCause_POD_CAUSE_LOCK
	notStarted     = event.PodCause_POD_CAUSE_NOT_STARTED
)

// notWhile is a condition that lowers a cause where another one explains it.
func notWhile(s signal, from, to float64) condition {
	return condition{Signal: s, From: to, To: from, Unknown: 1}
}

// rules is the table. Faults come first and share the time; what they leave is healthy.
var rules = []rule{
	{Cause: notStarted, Part: engine.OfWindow, When: "no container of the pod has been started"},
	{
		Cause: cpuLimit, Part: ofAll, Turn: 1, Needs: []signal{sigThrottled},
		Conditions: []condition{{Signal: sigThrottled, From: throttledLow, To: throttledHigh}},
		Apart:      map[event.PodCause]string{crowdedNode: "the same without a CPU limit"},
	},
	{
		Cause: crowdedNode, Part: ofAll, Turn: 1, Needs: []signal{sigCPUWait, sigThrottled},
		Conditions: []condition{
			{Signal: sigCPUWait, From: cpuWaitLow, To: cpuWaitHigh},
			{Signal: sigRunQueue, From: runQueueLow, To: runQueueHigh},
			notWhile(sigThrottled, throttledLow, throttledHigh),
		},
		// Threads that wake each other wait for a CPU, too.
		Doubts: []condition{{Signal: sigSwitches, From: switchesLow, To: switchesHigh}},
		Apart:  map[event.PodCause]string{lock: "kubectl orb8 top syscalls: the time that threads spend in futex"},
	},
	{
		Cause: oomKilled, Part: ofAll, Turn: 1, Needs: []signal{sigOOM},
		Conditions: []condition{{Signal: sigOOM, From: 0, To: 1}},
	},
	{
		Cause: memoryLimit, Part: ofAll, Turn: 1, Needs: []signal{sigMemoryPressure, sigMemory},
		Conditions: []condition{
			{Signal: sigMemoryPressure, From: memoryPressureLow, To: memoryPressureHigh},
			{Signal: sigMemory, From: memoryLow, To: memoryHigh},
		},
		Apart: map[event.PodCause]string{
			diskWait: "kubectl orb8 trace resources: reads that end with a higher limit",
		},
	},
	{
		Cause: memoryPressure, Part: ofAll, Turn: 1, Needs: []signal{sigMemoryPressure},
		Conditions: []condition{
			{Signal: sigMemoryPressure, From: memoryPressureLow, To: memoryPressureHigh},
			notWhile(sigMemory, memoryLow, memoryHigh),
		},
	},
	{
		Cause: diskWait, Part: ofAll, Turn: 1, Needs: []signal{sigIOPressure},
		Conditions: []condition{
			{Signal: sigIOPressure, From: ioPressureLow, To: ioPressureHigh},
			notWhile(sigMemoryPressure, memoryPressureLow, memoryPressureHigh),
		},
	},
	{
		Cause: dnsTimeout, Part: ofAll, Turn: 1, Needs: []signal{sigDNSUnanswered},
		Conditions: []condition{{Signal: sigDNSUnanswered, From: dnsUnansweredLow, To: dnsUnansweredHigh}},
	},
	{
		Cause: dnsSlow, Part: ofAll, Turn: 1, Needs: []signal{sigDNSLatency},
		Conditions: []condition{
			{Signal: sigDNSLatency, From: dnsLatencyLow, To: dnsLatencyHigh},
			notWhile(sigDNSUnanswered, dnsUnansweredLow, dnsUnansweredHigh),
		},
	},
	{
		Cause: dnsSearch, Part: ofAll, Turn: 1, Needs: []signal{sigDNSWasted},
		Conditions: []condition{
			{Signal: sigDNSWasted, From: dnsWastedLow, To: dnsWastedHigh},
			{Signal: sigDNSWastedRate, From: dnsWastedRateLow, To: dnsWastedRateHigh},
		},
	},
	{
		Cause: dnsNotFound, Part: ofAll, Turn: 1, Needs: []signal{sigDNSNotFound},
		Conditions: []condition{{Signal: sigDNSNotFound, From: dnsNotFoundLow, To: dnsNotFoundHigh}},
	},
	{
		Cause: refused, Part: ofAll, Turn: 1, Needs: []signal{sigRefused},
		Conditions: []condition{{Signal: sigRefused, From: failedLow, To: failedHigh}},
	},
	{
		Cause: wrongPort, Part: ofAll, Turn: 1, Needs: []signal{sigWrongPort},
		Conditions: []condition{{Signal: sigWrongPort, From: failedLow, To: failedHigh}},
	},
	{
		Cause: noEndpoints, Part: ofAll, Turn: 1, Needs: []signal{sigNoEndpoints},
		Conditions: []condition{{Signal: sigNoEndpoints, From: failedLow, To: failedHigh}},
	},
	{
		Cause: unanswered, Part: ofAll, Turn: 1, Needs: []signal{sigUnanswered, sigPolicy},
		Conditions: []condition{{Signal: sigUnanswered, From: failedLow, To: failedHigh}},
		Apart:      map[event.PodCause]string{policyDrop: "kubectl orb8 trace drops: on which node they are dropped"},
	},
	{
		Cause: policyDrop, Part: ofAll, Turn: 1, Needs: []signal{sigPolicy},
		Conditions: []condition{{Signal: sigPolicy, From: failedLow, To: failedHigh}},
	},
	{
		Cause: reset, Part: ofAll, Turn: 1, Needs: []signal{sigReset},
		Conditions: []condition{{Signal: sigReset, From: failedLow, To: failedHigh}},
	},
	{
		Cause: churn, Part: ofAll, Turn: 1, Needs: []signal{sigNoPort},
		Conditions: []condition{{Signal: sigNoPort, From: noPortLow, To: noPortHigh}},
	},
	{
		Cause: backlogFull, Part: ofAll, Turn: 1, Needs: []signal{sigNotAccepted},
		Conditions: []condition{{Signal: sigNotAccepted, From: notAcceptedLow, To: notAcceptedHigh}},
	},
	{
		Cause: packetLoss, Part: ofAll, Turn: 1, Needs: []signal{sigLoss},
		Conditions: []condition{{Signal: sigLoss, From: lossLow, To: lossHigh}},
	},
	{
		Cause: slowPeer, Part: ofAll, Turn: 1, Needs: []signal{sigResponse},
		Conditions: []condition{
			{Signal: sigResponse, From: responseLow, To: responseHigh},
			{Signal: sigResponse, From: intendedHigh, To: intendedLow, Unknown: 1},
			{Signal: sigResponseWait, From: responseWaitLow, To: responseWaitHigh},
			notWhile(sigLoss, lossLow, lossHigh),
		},
		Apart: map[event.PodCause]string{
			packetLoss: "kubectl orb8 trace network: the round-trip time beside the response time",
		},
	},
	{
		Cause: missingFile, Part: ofAll, Turn: 1, Needs: []signal{sigMissing},
		Conditions: []condition{{Signal: sigMissing, From: 0, To: 1}},
	},
	{
		Cause: permission, Part: ofAll, Turn: 1, Needs: []signal{sigDenied},
		Conditions: []condition{{Signal: sigDenied, From: 0, To: 1}},
	},
	{
		Cause: crash, Part: ofAll, Turn: 1, Needs: []signal{sigMissing, sigDenied},
		Conditions: []condition{
			{Signal: sigCrash, From: 0, To: 1}, notWhile(sigMissing, 0, 1), notWhile(sigDenied, 0, 1),
			notWhile(sigOOM, 0, 1), notWhile(sigProbes, 0, 1),
		},
	},
	{
		Cause: probeFailing, Part: ofAll, Turn: 1, Needs: []signal{sigProbes},
		Conditions: []condition{
			{Signal: sigProbes, From: 0, To: 1}, notWhile(sigMissing, 0, 1), notWhile(sigDenied, 0, 1),
			notWhile(sigOOM, 0, 1),
		},
	},
	{
		Cause: lock, Part: ofAll, Turn: 1, Needs: []signal{sigLockWaiters, sigThrottled},
		Conditions: []condition{
			{Signal: sigLockWaiters, From: lockWaitersLow, To: lockWaitersHigh},
			{Signal: sigLocked, From: lockedLow, To: lockedHigh},
			// A thread that stands still while it holds a lock has others wait.
			notWhile(sigThrottled, throttledLow, throttledHigh),
			notWhile(sigRunQueue, holdersLow, holdersHigh),
		},
	},
	{
		Cause: unknown, Part: ofAll, Turn: 3,
		Conditions: []condition{{Signal: sigNotReady, From: 0, To: 1}},
	},
	{
		Cause: busy, Part: ofAll, Turn: 4, Needs: []signal{sigCPU},
		Conditions: []condition{{Signal: sigCPU, From: busyLow, To: busyHigh}},
	},
	{Cause: idle, Part: ofAll, Turn: 5, Needs: []signal{sigCPU}},
}
