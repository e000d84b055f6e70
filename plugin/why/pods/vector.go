package pods

import (
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// reach is how many slots on either side a mean takes in.
const reach = 1

var nan = engine.NaN

// most returns the largest known value; NaN without any.
func most(a, b float64) float64 {
	if !engine.Known(a) || engine.Known(b) && b > a {
		return b
	}
	return a
}

// plus sums what is known; NaN without any.
func plus(a, b float64) float64 {
	switch {
	case !engine.Known(a):
		return b
	case !engine.Known(b):
		return a
	}
	return a + b
}

// use is what the containers of a pod use and wait for, at a time or in the window.
type use struct{ cpu, throttled, delay, switches, node, locks, memory, memoryPressure, ioPressure float64 }

func (p *pod) use(read func(c *container, row int) float64) use {
	u := use{nan, nan, nan, nan, nan, nan, nan, nan, nan}
	for _, c := range p.containers {
		u.cpu = plus(u.cpu, read(c, rowCPU))
		u.delay = plus(u.delay, read(c, rowDelay))
		u.switches = plus(u.switches, read(c, rowSwitches))
		u.node = most(u.node, read(c, rowNode))
		u.locks = plus(u.locks, read(c, rowLocks))
		u.throttled = most(u.throttled, read(c, rowThrottled))
		u.memory = most(u.memory, read(c, rowMemory))
		u.memoryPressure = most(u.memoryPressure, read(c, rowPSIMemory))
		u.ioPressure = most(u.ioPressure, read(c, rowPSIIO))
	}
	if engine.Known(u.cpu) && !engine.Known(u.throttled) && p.cpuLimit() == nil {
		u.throttled = 0 // there is no limit
	}
	if engine.Known(u.cpu) && !engine.Known(u.memory) && !p.hasMemoryLimit() {
		u.memory = 0
	}
	return u
}

// waiting is the part of the runnable time in which tasks waited for a CPU.
func (u use) waiting() float64 {
	if u.cpu+u.delay < minCPU {
		return 0
	}
	return u.delay / (u.cpu + u.delay)
}

// locked is the part of the time of threads with work in which they waited for a mutex.
func (u use) locked() float64 {
	all := u.locks + u.cpu + u.delay
	if all <= 0 {
		return 0
	}
	return u.locks / all
}

// crowded is how much a wait for a CPU counts against the node: 0 where it has idle CPUs, 1 where it has none, or where
// that is not known.
func (u use) crowded() float64 {
	if !engine.Known(u.node) {
		return 1
	}
	return min(max((u.node-nodeLow)/(nodeHigh-nodeLow), 0), 1)
}

// cpuLimit is the sum of the containers' limits, in thousandths of a CPU; nil where one has none.
func (p *pod) cpuLimit() *uint64 {
	var sum uint64
	for _, c := range p.containers {
		if c.cpuLimit == nil {
			return nil
		}
		sum += *c.cpuLimit
	}
	if sum == 0 {
		return nil
	}
	return &sum
}

func (p *pod) hasMemoryLimit() bool {
	for _, c := range p.containers {
		if c.memoryLimit != nil {
			return true
		}
	}
	return false
}

// slot sets the signals of one slot.
func (p *pod) slot(v []float64, u use) {
	of := 1.0 // CPUs
	if limit := p.cpuLimit(); limit != nil {
		of = float64(*limit) / 1000
	}
	v[sigCPU], v[sigThrottled], v[sigCPUWait] = u.cpu/of, u.throttled, u.waiting()*u.crowded()
	v[sigMemory], v[sigMemoryPressure], v[sigIOPressure] = u.memory, u.memoryPressure, u.ioPressure
	v[sigRunQueue] = u.delay
	v[sigSwitches] = u.switches / max(u.cpu, minCPU)
	v[sigLockWaiters], v[sigLocked] = u.locks, u.locked()
}

// droppedThere reports whether a policy drops the pod's packets where the peer runs.
func (w *Watch) droppedThere(p *pod, x *peer) bool {
	for _, server := range w.pods {
		if x.who != (Target{}) && server.is(x.who) && server.drops(p) > 0 {
			return true
		}
	}
	return false
}

// is reports whether the pod is a target, or one of its pods.
func (p *pod) is(t Target) bool {
	return p.namespace == t.Namespace && (p.name == t.Name || p.workload != "" && p.workload == t.Name)
}

// drops is how many packets of a client a policy has dropped at the pod.
func (p *pod) drops(client *pod) (n uint64) {
	for _, name := range []string{client.name, client.workload} {
		if x := p.peers[peerKey{name: client.namespace + "/" + name}]; x != nil && name != "" {
			n += x.policyDrops
		}
	}
	return n
}

// heldBack reports whether a pod of a target is watched, too, and stood still for want of CPU time, memory, a disk or a
// lock.
func (w *Watch) heldBack(t Target) bool {
	for _, p := range w.pods {
		if t == (Target{}) || !p.is(t) {
			continue
		}
		u := p.use(func(c *container, row int) float64 { return c.series.Whole(row) })
		if u.throttled >= throttledHigh || u.memoryPressure >= memoryPressureHigh || u.ioPressure >= ioPressureHigh ||
			u.locks >= lockWaitersHigh && u.locked() >= lockedHigh {
			return true
		}
	}
	return false
}

// share is a part of a whole, which counts in proportion where there are fewer than enough of it.
func share(part, whole, enough uint64) float64 {
	if part == 0 || whole == 0 {
		return 0
	}
	return min(float64(part)/float64(whole), 1) * min(float64(part)/float64(enough), 1)
}

// whole sets the signals of the window.
func (w *Watch) whole(p *pod, v []float64, seconds float64) {
	for s := sigOOM; s < signalCount; s++ {
		v[s] = nan
		if from := signalDocs[s].source; from == kubernetes && p.facts != nil && !p.facts.EventsUnknown ||
			w.sources[string(from)] {
			v[s] = 0
		}
	}
	if w.sources["exec"] {
		v[sigCrash] = 0 // as well as by Kubernetes
	}
	raise := func(s signal, x float64) { v[s] = most(v[s], x) }
	if p.oomKills() > 0 || p.facts != nil && p.facts.OOMKilled {
		raise(sigOOM, 1)
	}
	if l := &p.lookups; l.queries >= minLookups {
		raise(sigDNSUnanswered, share(l.unanswered+l.failed, l.queries, minLookups))
		raise(sigDNSWasted, share(l.wasted(), l.queries, minLookups))
		raise(sigDNSWastedRate, float64(l.wasted())/max(seconds, 1))
		raise(sigDNSNotFound, share(l.absent(), l.queries-l.wasted(), minLookups))
		if median, ok := l.median(); ok {
			raise(sigDNSLatency, median/1e6)
		}
	}
	for k, x := range p.peers {
		refused, unanswered := share(x.refused, x.attempts, minAttempts), share(x.unanswered, x.attempts, minAttempts)
		answered := x.attempts > x.failures()
		switch of, known := w.endpoints[Service{k.namespace, k.service}]; {
		case k.service != "" && (known && !of.Ready || !known && x.rejected > 0):
			// kube-proxy rejects connections to a Service without endpoints by a rule of the firewall. A client that
			// retries until a Service has one, which was scaled to none, has no fault.
			if !answered {
				raise(sigNoEndpoints, max(refused, unanswered))
			}
			refused, unanswered = 0, 0
		case k.service != "" && answered && x.rejected == x.refused:
			refused = 0
		case x.rejected > 0, x.policyDrops > 0, w.droppedThere(p, x):
			raise(sigPolicy, share(max(x.refused, x.unanswered), max(x.attempts, 1), 1))
			refused, unanswered = 0, 0
		}
		raise(sigRefused, refused)
		raise(sigUnanswered, unanswered)
		raise(sigWrongPort, share(x.wrongPort, x.attempts, minAttempts))
		raise(sigNoPort, share(x.notSent, x.attempts, minAttempts))
		raise(sigReset, share(x.resets, max(x.attempts, x.resets), minAttempts))
		if x.segments >= minSegments && x.retransmits >= minRetransmits {
			raise(sigLoss, float64(x.retransmits)/float64(x.segments))
		}
	}
	if _, x := p.slowest(); x != nil && x.responses.all >= minResponses {
		median := float64(x.responses.quantile(50)) / 1e6
		if w.heldBack(x.who) {
			median = min(median, intendedLow) // what a peer that cannot go on takes is not intended
		}
		raise(sigResponse, median)
		raise(sigResponseWait, x.responses.waiting(seconds))
	}
	notAccepted := p.overflows()
	raise(sigNotAccepted, share(notAccepted, notAccepted+p.accepted, minAttempts))
	if p.crashedBefore() {
		v[sigMissing], v[sigDenied] = nan, nan
	}
	if p.ends.missing != "" {
		raise(sigMissing, 1)
	}
	if p.ends.denied != "" {
		raise(sigDenied, 1)
	}
	if p.ends.crashes > 0 {
		raise(sigCrash, 1)
	}
	if f := p.facts; f != nil {
		if f.Restarting {
			raise(sigCrash, 1)
		}
		if f.ProbeFailures > 1 || f.KilledByProbe {
			raise(sigProbes, 1)
		}
		if f.Old && !f.Ready {
			raise(sigNotReady, 1)
		}
	}
	if v[sigCrash] == 0 {
		raise(sigMissing, 0) // nothing ended for want of a file
		raise(sigDenied, 0)
	}
}

// overflows is how many packets of clients found no room in the accept queue of a listener: by the counter of the pod's
// network, which all of its containers report, or by the drops of which the kernel gives this reason, if they are more.
func (p *pod) overflows() (n uint64) {
	for _, c := range p.containers {
		n = max(n, c.notAccepted)
	}
	return max(n, p.notAccepted)
}

// crashedBefore reports whether a container of the pod has crashed lately, and not in the window: what it failed on was
// not seen.
func (p *pod) crashedBefore() bool {
	return p.facts != nil && p.facts.Restarting && p.ends.crashes == 0
}

// oomKills is how many processes the kernel has killed for want of memory: the container's counter and the ends that
// were seen count the same.
func (p *pod) oomKills() (n uint64) {
	for _, c := range p.containers {
		n += c.oomKills
	}
	return max(n, p.ends.oomKills)
}
