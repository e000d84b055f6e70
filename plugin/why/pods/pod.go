package pods

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

// pod is the state of a pod.
type pod struct {
	podKey
	node, uid, workload string
	containers          map[string]*container
	peers               map[peerKey]*peer
	lookups             lookups
	ends                ends
	// notAccepted are packets that were to open connections to the pod and found no room; accepted are connections.
	notAccepted, accepted uint64
	facts                 *Facts
	full                  bool
	kept                  *kept
}

func newPod(k podKey, all *kept) *pod {
	return &pod{
		kept:   all,
		podKey: k, containers: map[string]*container{}, peers: map[peerKey]*peer{}, lookups: newLookups(all),
		ends: ends{failed: map[uint32]failedCall{}},
	}
}

// uncreated reports whether it stands for the pods that a workload lacks.
func (p *pod) uncreated() bool { return p.facts != nil && p.facts.Name == "" }

// restart begins a new window.
func (p *pod) restart() {
	for _, c := range p.containers {
		c.restart()
	}
	clear(p.peers)
	p.lookups = newLookups(p.kept)
	p.ends.restart()
	p.notAccepted, p.accepted = 0, 0
}

// Rows of a container's series.
const (
	rowCPU       = iota // CPUs used
	rowThrottled        // share of the enforcement periods
	rowDelay            // tasks that wait for a CPU
	rowSwitches         // a second
	rowNode             // share of the node's CPU time
	rowLocks            // threads that wait for a mutex
	rowMemory           // of the limit
	rowPSIMemory        // share of time
	rowPSIIO            // share of time
	containerRows
)

// counters are the cumulative numbers of a container.
type counters struct{ delay, runs, ioRequests, ioMicros, ooms, overflows slots.Counter }

// container is what is known of a container's use of the node.
type container struct {
	series slots.Series
	// of the last event, at.
	counters
	at                    uint64
	cpuLimit, memoryLimit *uint64
	memory                uint64 // the largest working set, bytes
	// in the window
	requests, requestMicros, oomKills, notAccepted uint64
}

func (c *container) restart() {
	c.series.Clear()
	c.memory, c.requests, c.requestMicros, c.oomKills, c.notAccepted = 0, 0, 0, 0, 0
}

// onResources takes a sample of a container.
func (w *Watch) onResources(n *node, p *pod, ev *event.Event, r *event.Resources) {
	c := p.containers[r.GetId()]
	if c == nil {
		if r.GetId() == "" {
			return
		}
		if len(p.containers) == maxContainers || !room(&p.kept.containers, maxAllContainers) {
			p.full = true
			return
		}
		c = &container{series: slots.NewSeries(containerRows, w.slots)}
		p.containers[r.GetId()] = c
	}
	at := ev.GetTime()
	from, to := slots.SamplePeriod(at, r.GetIntervalMicros())
	add := func(row int, v *uint64, scale float64) {
		if v != nil {
			n.clock.Add(&c.series, row, from, to, float64(*v)*scale)
		}
	}
	if cpu := r.GetCpu(); cpu != nil {
		add(rowCPU, cpu.Millis, 1e-3)
		add(rowThrottled, cpu.ThrottledPercent, 1e-2)
		add(rowNode, cpu.NodePercent, 1e-2)
		c.cpuLimit = slots.CopyOf(cpu.LimitMillis)
	}
	if l := r.GetLocks(); l != nil && l.Waiters != nil {
		n.clock.Add(&c.series, rowLocks, from, to, l.GetWaiters())
	}
	if m := r.GetMemory(); m != nil {
		if m.Bytes != nil && m.GetLimitBytes() > 0 {
			n.clock.Add(&c.series, rowMemory, from, to, float64(m.GetBytes())/float64(m.GetLimitBytes()))
		}
		c.memoryLimit = slots.CopyOf(m.LimitBytes)
		c.memory = max(c.memory, m.GetWorkingSetBytes())
	}
	if psi := r.GetPressure(); psi != nil {
		add(rowPSIMemory, psi.MemorySomePercent, 1e-2)
		add(rowPSIIO, psi.IoSomePercent, 1e-2)
	}
	c.count(n, at, r)
}

// count takes the cumulative numbers of a sample.
func (c *container) count(n *node, at uint64, r *event.Resources) {
	last, since := *c, c.at
	if at <= since {
		return
	}
	c.counters = counters{}
	if q := r.GetRunQueue(); q != nil {
		c.delay, c.runs = slots.CounterOf(q.DelayMicros), slots.CounterOf(q.Runs)
	}
	if io := r.GetIo(); io != nil && io.ReadRequests != nil && io.WriteRequests != nil {
		c.ioRequests = slots.Counter{Value: io.GetReadRequests() + io.GetWriteRequests(), Known: true}
		c.ioMicros = slots.Counter{Value: io.GetReadMicros() + io.GetWriteMicros(), Known: true}
	}
	if m := r.GetMemory(); m != nil {
		c.ooms = slots.CounterOf(m.OomKills)
	}
	if n := r.GetNetwork(); n != nil {
		c.overflows = slots.CounterOf(n.ListenOverflows)
	}
	c.at = at
	if since == 0 {
		return
	}
	seconds := float64(at-since) / 1e9
	if grown, ok := c.delay.Growth(last.delay); ok {
		n.clock.Add(&c.series, rowDelay, since, at, float64(grown)/1e6/seconds)
	}
	if grown, ok := c.runs.Growth(last.runs); ok {
		n.clock.Add(&c.series, rowSwitches, since, at, float64(grown)/seconds)
	}
	requests, ok := c.ioRequests.Growth(last.ioRequests)
	if micros, both := c.ioMicros.Growth(last.ioMicros); ok && both {
		c.requests += requests
		c.requestMicros += micros
	}
	if grown, ok := c.ooms.Growth(last.ooms); ok {
		c.oomKills += grown
	}
	if grown, ok := c.overflows.Growth(last.overflows); ok {
		c.notAccepted += grown
	}
}
