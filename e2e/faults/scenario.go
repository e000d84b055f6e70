// Package faults holds scenarios with known faults in real pods, and healthy ones that only resemble them. Each has the
// answer of a good engineer to the question why a pod fails or is slow: the truth for `kubectl orb8 why`. It states the
// fault itself, and not what is easy to detect: the rules are written after it. TestWhy_Faults proves by the
// kernel's and the workload's own counters, without orb8, that each fault is there and that the healthy ones are not
// disturbed.
//
// table.go lists the scenarios with their faults and answers. A scenario lasts until the end of its test, and is steady
// for a minute after Start. Those of one Group run at the same time and do not disturb each other.
package faults

import "slices"

// Cause is a verdict of `kubectl orb8 why` in JSON.
type Cause string

// The causes.
const (
	CPULimit       Cause = "cpuLimit"       // throttled at its CPU limit
	CrowdedNode    Cause = "crowdedNode"    // waits for CPUs that other pods use
	MemoryLimit    Cause = "memoryLimit"    // its working set does not fit into its memory limit
	OOMKilled      Cause = "oomKilled"      // the kernel killed a process at a memory limit
	MemoryPressure Cause = "memoryPressure" // swap or reclaim, at no limit of its own
	DiskWait       Cause = "diskWait"       // waits for a disk
	DNSTimeout     Cause = "dnsTimeout"     // a DNS server does not answer
	DNSSlow        Cause = "dnsSlow"        // a DNS server answers late
	DNSSearch      Cause = "dnsSearch"      // asks for names that the search path makes and that do not exist
	DNSNotFound    Cause = "dnsNotFound"    // a name does not exist
	Refused        Cause = "refused"        // nothing listens
	WrongPort      Cause = "wrongPort"      // the Service has no such port
	NoEndpoints    Cause = "noEndpoints"    // the Service has no endpoints
	Unanswered     Cause = "unanswered"     // no answer to connection attempts
	Reset          Cause = "reset"          // the peer resets connections
	BacklogFull    Cause = "backlogFull"    // a listener's accept queue overflows
	PolicyDrop     Cause = "policyDrop"     // a firewall or network policy drops packets
	PacketLoss     Cause = "packetLoss"     // packets are lost and retransmitted
	SlowPeer       Cause = "slowPeer"       // waits for the answers of a dependency
	Churn          Cause = "churn"          // opens so many connections that it has no ports left
	Crash          Cause = "crash"          // its process ends with an error or by a signal
	MissingFile    Cause = "missingFile"    // a file that it needs does not exist
	Permission     Cause = "permission"     // may not open a file
	ProbeFailing   Cause = "probeFailing"   // the kubelet's probe fails
	Lock           Cause = "lock"           // its threads wait for each other
	NotStarted     Cause = "notStarted"     // its container cannot start

	// The healthy ones, and no answer.
	Busy    Cause = "busy"
	Idle    Cause = "idle"
	Unknown Cause = "unknown"
)

// Causes lists the causes that are faults.
func Causes() []Cause {
	return []Cause{CPULimit, CrowdedNode, MemoryLimit, OOMKilled, MemoryPressure, DiskWait, DNSTimeout, DNSSlow,
		DNSSearch, DNSNotFound, Refused, WrongPort, NoEndpoints, Unanswered, Reset, BacklogFull, PolicyDrop, PacketLoss,
		SlowPeer, Churn, Crash, MissingFile, Permission, ProbeFailing, Lock, NotStarted}
}

// Answer is what a good engineer answers for one target.
type Answer struct {
	// Target is an argument of the command: a pod's name, or KIND/NAME.
	Target string
	// First holds the causes of which one must be the first verdict.
	First []Cause
	// Also holds the causes that must all be named, in any place.
	Also []Cause
	// Peers are the pods, Services, names or addresses that the answer must name: the dependency that is waited for or
	// fails, or the pod that uses the CPUs.
	Peers []string
	// Root is the end of the chain of dependencies, if there is one.
	Root Root
	// Healthy: no fault may be claimed.
	Healthy bool
}

// Root is a pod and its cause.
type Root struct {
	Pod   string
	Cause Cause
}

// Group is a set of scenarios that run at the same time.
type Group string

// Groups are the groups in the order of their runs.
var Groups = []Group{Connections, Latency, Crashes, Storage, Waits}

// The groups.
const (
	// Connections has names and connections that fail, at a low load.
	Connections Group = "connections"
	// Latency has slow dependencies, and clients that wait by intention.
	Latency Group = "latency"
	// Crashes has pods that crash or do not start, and a crowded node, which they do not notice.
	Crashes Group = "crashes"
	// Storage has disks and memory. No pod without requests but its own runs on the second node.
	Storage Group = "storage"
	// Waits has locks, and CPU time that is not limited.
	Waits Group = "waits"
)

// Scenario is a fault, or a healthy use that resembles one.
type Scenario struct {
	Name  string
	Group Group
	// Fault is what is wrong, or why nothing is, in one line.
	Fault string
	// Want holds an answer for each target of the command.
	Want []Answer

	// setup declares the pods, and registers what arms and proves the fault.
	setup func(*Stage)
}

// Healthy reports whether the scenario is a control, in which no pod has a fault.
func (s *Scenario) Healthy() bool {
	return !slices.ContainsFunc(s.Want, func(a Answer) bool { return !a.Healthy })
}

// Targets returns the arguments for the command.
func (s *Scenario) Targets() []string {
	var targets []string
	for _, a := range s.Want {
		targets = append(targets, a.Target)
	}
	return targets
}
