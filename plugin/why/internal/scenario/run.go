package scenario

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// run simulates the window and samples it as the sources do.
func (w *world) run() {
	for _, b := range w.pods {
		w.limitCPU(b)
		w.openFlows(b)
	}
	for _, g := range w.gpus {
		g.info = w.newDevice(g)
		if w.mig {
			g.parent = w.newParent(g)
		}
	}
	type sample struct {
		at float64 // s
		do func(at float64)
	}
	var samples []sample
	step := w.interval.Seconds()
	for _, node := range w.nodes() {
		phase, late := w.d.between(0, step), 0.0
		if w.d.chance(0.1) {
			late = w.d.between(0, 2) // the node began to stream later
		}
		for at := phase + late; at < window.Seconds(); at += step {
			jitter := w.d.between(0, 0.03)
			samples = append(samples, sample{at + jitter, func(at float64) { w.sampleGPUs(node, at) }})
		}
		// These sample at whole intervals of the wall clock.
		for at := 0.083 + late; at < window.Seconds(); at += step {
			samples = append(
				samples,
				sample{at, func(at float64) { w.sampleContainers(node, at) }},
				sample{at + 0.02, func(at float64) { w.scanSockets(node, at) }},
			)
		}
	}
	slices.SortStableFunc(samples, func(a, b sample) int { return cmp.Compare(a.at, b.at) })
	next := 0
	ticks := int(window.Seconds() / tick)
	for i := range ticks {
		now := float64(i) * tick
		for next < len(samples) && samples[next].at <= now {
			samples[next].do(now)
			next++
		}
		share := now / window.Seconds()
		for _, b := range w.pods {
			w.step(b, share)
		}
		for _, g := range w.gpus {
			g.step()
			w.injectFault(g, share, now)
		}
	}
	for _, b := range w.pods {
		b.pod.Truth.normalise()
	}
	w.dropEvents()
	events := w.queue
	slices.SortStableFunc(events, func(a, b *event.Event) int { return cmp.Compare(a.GetTime(), b.GetTime()) })
	w.scenario.Events = events
}

func (w *world) nodes() (names []string) {
	for _, b := range w.pods {
		if !slices.Contains(names, b.node) {
			names = append(names, b.node)
		}
	}
	return names
}

// limitCPU sets the CPU limit of a pod.
func (w *world) limitCPU(b *pod) {
	p, d := b.p, w.d
	peak, hungry, most := 0.0, false, 0.0
	for _, g := range b.groups {
		main := 0.0
		for _, ph := range g.phases {
			for c := range Causes {
				if ph.mix[c] > 0 {
					main = max(main, p.host[c].cpu+p.host[c].proxy)
				}
			}
			lack := ph.mix[network] + ph.mix[storage] + ph.mix[cpu]
			n := float64(p.workers)
			if p.workers == 0 {
				n = 1
			}
			share := p.cycle[cpu] * p.duty
			if lack >= 0.05 {
				share = ph.mix[cpu] / lack
				if ph.mix[cpu] >= 0.3 && share > 0.6 {
					hungry = true
				}
			}
			most = max(most, n*share*float64(len(g.ranks)))
		}
		peak += main * float64(len(g.ranks))
	}
	peak += most + p.receive/p.perCore
	if !hungry {
		if p.limit > 0 {
			b.limit = max(0.5, peak*p.limit)
		}
		return
	}
	switch x := d.Float64(); {
	case x < 0.55:
		b.limit = max(0.2, (peak-p.receive/p.perCore)*d.between(0.35, 0.85))
	case x < 0.8:
	default:
		// Several pods compete for the node's CPUs.
		own := *p
		own.crowded = d.between(0.4, 0.8)
		b.p = &own
	}
}

// dropEvents removes events and reports them as lost.
func (w *world) dropEvents() {
	if !w.source.lossy {
		return
	}
	lost := map[string]uint64{}
	w.queue = slices.DeleteFunc(w.queue, func(ev *event.Event) bool {
		if ev.GetGpu().GetType() == event.GpuEventType_GPU_EVENT_TYPE_XID ||
			ev.GetGpu().GetType() == event.GpuEventType_GPU_EVENT_TYPE_LOST ||
			!w.d.chance(0.05) {
			return false
		}
		lost[ev.GetNode()]++
		return true
	})
	for _, node := range w.nodes() {
		if n := lost[node]; n > 0 {
			w.emit(
				&event.Event{
					Time: w.scenario.End - 1,
					Node: node,
					Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: n}},
				},
			)
		}
	}
}

func (w *world) time(at float64) uint64 { return w.scenario.Start + uint64(at*1e9) }

func (w *world) emit(ev *event.Event) { w.queue = append(w.queue, ev) }
