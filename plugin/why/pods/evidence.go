package pods

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// number is x scaled, absent where it is not known.
func number(x, scale float64) *float64 {
	if !engine.Known(x) {
		return nil
	}
	x *= scale
	return &x
}

// addEvidence adds the evidence about a pod.
func (w *Watch) addEvidence(e *event.PodEvidence, p *pod) {
	u := p.use(func(c *container, row int) float64 { return c.series.Whole(row) })
	if len(p.containers) > 0 {
		e.CpuMillis, e.CpuLimitMillis = number(u.cpu, 1000), p.cpuLimit()
		e.CpuThrottledPercent = number(u.throttled, 100)
		if e.CpuLimitMillis == nil {
			e.CpuThrottledPercent = nil
		}
		if engine.Known(u.delay) {
			e.CpuWaitPercent = number(u.waiting(), 100)
		}
		e.NodeCpuPercent = number(u.node, 100)
		e.SwitchesPerSecond, e.LockWaiters = number(u.switches, 1), number(u.locks, 1)
		e.MemoryPressurePercent, e.IoPressurePercent = number(u.memoryPressure, 100), number(u.ioPressure, 100)
		p.addMemory(e)
	}
	kills := p.oomKills()
	if w.sources["resources"] || w.sources["exec"] {
		e.OomKills = &kills
	}
	e.OomProcess = p.ends.oomProcess
	if w.sources["dns"] {
		p.lookups.addEvidence(e)
	}
	w.addConnections(e, p)
	if w.sources["exec"] {
		crashes := p.ends.crashes
		e.Crashes, e.LastEnd = &crashes, p.ends.last
	}
	if name, x := p.slowest(); x != nil {
		r := x.responses
		p50, p99, all, most := r.quantile(50), r.quantile(99), r.all, r.most
		e.WaitedFor, e.Responses = name, &all
		e.ResponseP50Micros, e.ResponseP99Micros, e.ResponseMaxMicros = &p50, &p99, &most
		if n := w.nodes[p.node]; n != nil && n.clock.Last > n.clock.Start {
			e.ResponseWaitPercent = number(r.waiting(float64(n.clock.Last-n.clock.Start)/1e9), 100)
		}
	}
	e.LastError = p.ends.missing
	if p.ends.denied != "" {
		e.LastError = p.ends.denied
	}
	if f := p.facts; f != nil {
		e.Restarts, e.Message = &f.Restarts, f.Message
		if !f.EventsUnknown {
			e.ProbeFailures = &f.ProbeFailures
		}
		if e.LastEnd == "" {
			e.LastEnd = f.LastEnd
		}
	}
}

// addMemory adds the memory of the container nearest to its limit.
func (p *pod) addMemory(e *event.PodEvidence) {
	var requests, micros uint64
	nearest := -1.0
	for _, c := range p.containers {
		requests += c.requests
		micros += c.requestMicros
		part := 0.0
		if c.memoryLimit != nil && *c.memoryLimit > 0 {
			part = float64(c.memory) / float64(*c.memoryLimit)
		}
		if c.memory > 0 && part > nearest {
			nearest = part
			memory := c.memory
			e.MemoryBytes, e.MemoryLimitBytes = &memory, c.memoryLimit
		}
	}
	if requests > 0 {
		mean := micros / requests
		e.IoMeanMicros = &mean
	}
}

func (l *lookups) addEvidence(e *event.PodEvidence) {
	queries, unanswered, failed, notFound, wasted := l.queries, l.unanswered, l.failed, l.notFound, l.wasted()
	e.DnsQueries, e.DnsUnanswered, e.DnsFailed = &queries, &unanswered, &failed
	e.DnsNotFound, e.DnsWasted = &notFound, &wasted
	if median, ok := l.median(); ok {
		micros := uint64(median)
		e.DnsMedianMicros = &micros
	}
	e.DnsName = l.worst(func(n *name) uint64 { return n.unanswered + n.failed + n.notFound + n.wasted })
}

func (w *Watch) addConnections(e *event.PodEvidence, p *pod) {
	var sum peer
	for _, x := range p.peers {
		sum.attempts += x.attempts
		sum.refused += x.refused + x.wrongPort
		sum.unanswered += x.unanswered
		sum.notSent += x.notSent
		sum.resets += x.resets
		sum.segments += x.segments
		sum.retransmits += x.retransmits
		sum.policyDrops += x.policyDrops
	}
	if w.sources["tcp"] {
		e.Attempts, e.Refused, e.Unanswered, e.NoPortLeft, e.Resets = &sum.attempts, &sum.refused, &sum.unanswered,
			&sum.notSent, &sum.resets
	}
	if w.sources["flow"] {
		e.Segments, e.Retransmits = &sum.segments, &sum.retransmits
	}
	if w.sources["drop"] {
		notAccepted := p.overflows()
		e.PolicyDrops, e.QueueDrops = &sum.policyDrops, &notAccepted
	}
}
