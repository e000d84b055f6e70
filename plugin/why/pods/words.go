package pods

import (
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// causeWords describe the causes for people. PEER stands for the other end.
var causeWords = map[event.PodCause]string{
	unknown:        "something that orb8 cannot see: the pod runs and is not ready",
	idle:           "nothing wrong: the pod has little to do",
	busy:           "nothing wrong: the pod works",
	cpuLimit:       "a CPU limit that holds the pod back",
	crowdedNode:    "a node with more work than CPUs: the pod's tasks wait for one",
	memoryLimit:    "a memory limit that is reached: the kernel frees pages that are needed again",
	oomKilled:      "too little memory: the kernel killed a process",
	memoryPressure: "a node that is short of memory",
	diskWait:       "waiting for block devices or file systems",
	dnsTimeout:     "DNS lookups without an answer from PEER",
	dnsSlow:        "slow DNS lookups by PEER",
	dnsSearch:      "a search path that multiplies DNS lookups (ndots)",
	dnsNotFound:    "a name that does not exist: PEER",
	refused:        "connections that PEER refuses: nothing listens there",
	wrongPort:      "connections to a port that the Service does not have: PEER",
	noEndpoints:    "connections to a Service without ready endpoints: PEER",
	unanswered:     "connections that PEER does not answer",
	reset:          "connections that PEER resets",
	backlogFull:    "clients that wait: the pod accepts connections too slowly",
	policyDrop:     "a policy or firewall that drops packets for PEER",
	packetLoss:     "lost packets on the way to PEER",
	slowPeer:       "slow answers of PEER",
	churn:          "more connections to PEER than there are local ports",
	crash:          "a container that ends with an error, again and again",
	missingFile:    "a container that ends because a file does not exist: PEER",
	permission:     "a container that ends because access is denied: PEER",
	probeFailing:   "failing probes of the kubelet",
	lock:           "threads that wait for a mutex that another one holds",
	notStarted:     "not started",
}

// consistentWith precedes the words of a fault.
const consistentWith = "consistent with "

// words describe a cause for people: the evidence fits a cause, and proves none.
func words(c event.PodCause, peer string) string {
	text := causeWords[c]
	if peer == "" {
		peer = "a peer"
	}
	text = strings.ReplaceAll(text, "PEER", peer)
	if c.Healthy() {
		return text
	}
	return consistentWith + text
}

// both are the words of the first two causes.
func (w *Watch) both(p *pod, first, second event.PodCause) string {
	return words(first, w.culprit(p, first)) + "; and with " + strings.TrimPrefix(words(second, w.culprit(p, second)),
		consistentWith)
}

// culprit is the other end that a cause is about; empty where there is none.
func (w *Watch) culprit(p *pod, c event.PodCause) string {
	bad := func(d *dnsServer) uint64 { return d.bad }
	switch c {
	case dnsTimeout:
		return p.lookups.worstServer(bad)
	case dnsSlow:
		return p.lookups.worstServer(func(d *dnsServer) uint64 { return d.micros })
	case dnsNotFound:
		return p.lookups.worst(func(n *name) uint64 { return n.notFound })
	case slowPeer:
		name, _ := p.slowest()
		return name
	case missingFile:
		return p.ends.missing
	case permission:
		return p.ends.denied
	}
	of := map[event.PodCause]func(peerKey, *peer) uint64{
		refused:    func(_ peerKey, x *peer) uint64 { return x.refused },
		wrongPort:  func(_ peerKey, x *peer) uint64 { return x.wrongPort },
		unanswered: func(_ peerKey, x *peer) uint64 { return x.unanswered },
		reset:      func(_ peerKey, x *peer) uint64 { return x.resets },
		policyDrop: func(_ peerKey, x *peer) uint64 {
			if x.rejected > 0 || x.policyDrops > 0 || w.droppedThere(p, x) {
				return x.failures()
			}
			return 0
		},
		churn:      func(_ peerKey, x *peer) uint64 { return x.notSent },
		packetLoss: func(_ peerKey, x *peer) uint64 { return x.retransmits },
		noEndpoints: func(k peerKey, x *peer) uint64 {
			if k.service == "" {
				return 0
			}
			return x.failures()
		},
	}[c]
	if of == nil {
		return ""
	}
	worst, most := "", uint64(0)
	for k, x := range p.peers {
		if n := of(k, x); n > most || n == most && n > 0 && k.name < worst {
			worst, most = k.name, n
		}
	}
	return worst
}

// next is the command that tells more about a cause.
func next(p *pod, c event.PodCause, peer string) string {
	of := func(command string) string { return "kubectl orb8 " + command + " " + p.name + " -n " + p.namespace }
	switch c {
	case cpuLimit, memoryLimit, memoryPressure, diskWait, idle, busy:
		return of("trace resources")
	case crowdedNode:
		if p.node == "" {
			return of("trace resources")
		}
		return "kubectl orb8 trace resources -A --node " + p.node + " --sort-by=-cpu.millis --duration 10s"
	case oomKilled:
		return of("trace exec,resources")
	case dnsTimeout, dnsSlow, dnsSearch, dnsNotFound:
		return of("trace dns")
	case refused, wrongPort, unanswered, reset, churn:
		return of("trace tcp")
	case noEndpoints:
		if service, ok := strings.CutPrefix(peer, "service "); ok {
			namespace, name, _ := strings.Cut(service, "/")
			name, _, _ = strings.Cut(name, ":")
			return "kubectl get endpointslices -n " + namespace + " -l kubernetes.io/service-name=" + name
		}
		return of("trace tcp")
	case backlogFull, policyDrop:
		return of("trace drops")
	case packetLoss, slowPeer:
		return of("trace network")
	case missingFile, permission:
		return of("trace exec,syscalls") + " --syscall %file --errors-only"
	case crash:
		return "kubectl logs " + p.name + " -n " + p.namespace + " --previous --all-containers"
	case lock:
		return of("top syscalls")
	}
	if p.uncreated() {
		return "kubectl describe " + p.workload + " -n " + p.namespace
	}
	return "kubectl describe pod " + p.name + " -n " + p.namespace
}
