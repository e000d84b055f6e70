package pods

// signal is a number of a slot of the window. Shares are between 0 and 1.
type signal int

// The signals. The first ones are of the slot, those from sigOOM on of the whole window.
const (
	// sigAll is 1: rules divide all of the time.
	sigAll signal = iota
	sigCPU
	sigThrottled
	sigCPUWait
	sigRunQueue
	sigSwitches
	sigLockWaiters
	sigLocked
	sigMemory
	sigMemoryPressure
	sigIOPressure

	sigOOM
	sigDNSUnanswered
	sigDNSLatency
	sigDNSWasted
	sigDNSWastedRate
	sigDNSNotFound
	sigRefused
	sigWrongPort
	sigNoEndpoints
	sigUnanswered
	sigPolicy
	sigReset
	sigNoPort
	sigNotAccepted
	sigLoss
	sigResponse
	sigResponseWait
	sigCrash
	sigMissing
	sigDenied
	sigProbes
	sigNotReady
	signalCount
)

// source is a kind of event, or Kubernetes.
type source string

// kubernetes is the source of Facts.
const kubernetes source = "kubernetes"

// signalDocs describe the signals, in their order.
var signalDocs = [signalCount]struct {
	name, unit, doc string
	source          source
}{
	sigAll: {"time", "", "the whole slot", ""},
	sigCPU: {"CPU use", "of the limit, or of one CPU", "CPU time of the pod", "resources"},
	sigThrottled: {
		"throttling", "share of periods",
		"enforcement periods in which a CPU limit was used up; of the container with most", "resources",
	},
	sigCPUWait: {
		"waits for a CPU", "share of runnable time",
		"of the time in which tasks ran or could have, that in which they waited for a CPU; less where the node has " +
			"idle CPUs, and none where its CPUs are busy for less than three quarters", "resources",
	},
	sigRunQueue:    {"run queue", "tasks", "tasks that wait for a CPU, at a time", "resources"},
	sigSwitches:    {"context switches", "per CPU-second", "how often tasks left a CPU", "resources"},
	sigLockWaiters: {"lock waiters", "threads", "threads that wait for a mutex, at a time", "resources"},
	sigLocked: {
		"waits for locks", "share of time",
		"of the time in which threads ran, waited for a CPU or waited for a mutex, that for a mutex", "resources",
	},
	sigMemory: {
		"memory use", "of the limit", "memory with the cache of files, of the container nearest to its limit",
		"resources",
	},
	sigMemoryPressure: {
		"memory pressure", "share of time", "some task waited for memory (PSI); of the container with most",
		"resources",
	},
	sigIOPressure: {
		"I/O pressure", "share of time",
		"some task waited for block devices or file systems (PSI); of the container with most", "resources",
	},
	sigOOM: {"OOM kills", "0 or 1", "the OOM killer has killed a process of the pod", "resources"},

	sigDNSUnanswered: {
		"DNS without answer", "share of lookups", "lookups that no server answered, or with an error", "dns",
	},
	sigDNSLatency: {"DNS latency", "s", "median time to an answer", "dns"},
	sigDNSWasted: {
		"DNS search path", "share of lookups",
		"lookups that the search path has made for names that exist without it", "dns",
	},
	sigDNSWastedRate: {"DNS search rate", "per second", "the same, a second", "dns"},
	sigDNSNotFound: {
		"DNS not found", "share of lookups", "lookups of names that do not exist, without those of the search path",
		"dns",
	},

	sigRefused: {"refused", "share of attempts", "connections refused, of the peer with most", "tcp"},
	sigWrongPort: {
		"no such port", "share of attempts", "connections to a port that the Service does not have", "tcp",
	},
	sigNoEndpoints: {
		"no endpoints", "share of attempts", "connections to a Service without ready endpoints", kubernetes,
	},
	sigUnanswered: {
		"unanswered", "share of attempts", "connections that nobody answers, of the peer with most", "tcp",
	},
	sigPolicy: {
		"policy drops", "share of attempts", "the same, to peers the packets to which a policy drops", "drop",
	},
	sigReset: {
		"resets", "share of connections", "connections that the peer has reset, of the peer with most", "tcp",
	},
	sigNoPort: {"no local port", "share of attempts", "connections for which no local port was left", "tcp"},
	sigNotAccepted: {
		"not accepted", "share of attempts", "clients' attempts for which the listener's queue had no room", "drop",
	},
	sigLoss: {
		"retransmits", "share of segments", "segments that were retransmitted, of the peer with most", "flow",
	},
	sigResponse: {
		"response time", "s", "median time to a response of the peer that the pod waited for longest", "flow",
	},
	sigResponseWait: {"response wait", "share of time", "time spent waiting for it", "flow"},

	sigCrash: {"crashes", "0 or 1", "a container ended with an error", kubernetes},
	sigMissing: {
		"missing file", "0 or 1", "the last call of a crashed process on a file failed with ENOENT", "syscall",
	},
	sigDenied:   {"access denied", "0 or 1", "the same, with EACCES or EPERM", "syscall"},
	sigProbes:   {"failing probes", "0 or 1", "probes of the kubelet failed", kubernetes},
	sigNotReady: {"not ready", "0 or 1", "the pod runs and is not ready", kubernetes},
}
