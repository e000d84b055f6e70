package scenario

import (
	"math"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The functions that run in each tick carry go:norace: one goroutine owns a world, and under the race detector the
// 3,000 ticks of a scenario would take most of the tests' time.

// tick is the length of a step, s.
const tick = 0.01

// order is in which order the parts of an iteration follow each other.
var order = []event.GpuCause{
	network,
	storage,
	cpu,
	unknown,
	abandoned,
	copying,
	launch,
	compute,
	memory,
	throttle,
	collective,
}

// phaseAt is the phase at a time, given as a share of the window.
func (g *group) phaseAt(share float64) *phase {
	for i := range g.phases {
		if share < g.phases[i].until {
			return &g.phases[i]
		}
	}
	return &g.phases[len(g.phases)-1]
}

// nextCause is the cause of the next tick.
func (g *group) nextCause(d dice, p *program, share float64) event.GpuCause {
	for {
		for len(g.left) > 0 {
			if s := &g.left[0]; s.s > 0 {
				s.s -= tick
				return s.cause
			}
			// What is left of a tick is the next one's.
			if len(g.left) > 1 {
				g.left[1].s += g.left[0].s
			}
			g.left = g.left[1:]
		}
		m := &g.phaseAt(share).mix
		length := p.iteration
		if m[unknown] > 0.3 {
			length = max(length, 0.5)
		}
		length = d.around(length, 0.08)
		g.left = g.segments[:0]
		for _, c := range order {
			if m[c] > 0 {
				g.left = append(g.left, segment{c, d.around(m[c]*length, 0.12)})
			}
		}
		for _, r := range g.ranks {
			if p.several {
				r.collectives += p.collectives
			}
		}
	}
}

// step moves a pod by one tick.
//
//go:norace
func (w *world) step(b *pod, share float64) {
	p, d := b.p, w.d
	demand, ranks := 0.0, 0
	var loading Shares // processes that load, by what they do
	loaders, starved := 0.0, false
	rate := Shares{} // of the time, by what the loaders' rates are to be multiplied with
	for _, g := range b.groups {
		cause := g.nextCause(d, p, share)
		mix := &g.phaseAt(share).mix
		lack := mix[network] + mix[storage] + mix[cpu]
		cycle, duty := p.cycle, p.duty
		if lack >= 0.05 {
			duty, starved = 1, true
			cycle = Shares{}
			for _, c := range waits {
				cycle.add(c, mix[c]/lack)
			}
		}
		if mix[abandoned]+mix[unknown] > 0.5 {
			duty *= 0.05 // what is not consumed is not loaded
		}
		working := 0
		for _, r := range g.ranks {
			if !b.judged && cause != abandoned {
				b.pod.Truth.add(cause, tick)
			} else if !b.judged {
				b.pod.Truth.add(abandoned, tick)
			}
			if r.running(share) {
				working++
				r.step(p, cause)
				demand += p.host[cause].cpu + p.host[cause].proxy
			} else if r.hung {
				demand += 0.5
			}
		}
		ranks += working
		part := float64(working) / float64(max(len(g.ranks), 1))
		if p.workers > 0 {
			n := float64(p.workers * working)
			loaders += n
			for c := range cycle {
				loading[c] += n * duty * cycle[c]
				rate[c] += part * duty * cycle[c] / float64(len(b.groups))
			}
			continue
		}
		// The main thread loads: only while the GPU waits for it.
		switch {
		case cause == network || cause == storage || cause == cpu:
			loading[cause] += float64(working)
			loaders += float64(working)
			rate[cause] += part / float64(len(b.groups))
		case lack < 0.05 && mix[abandoned]+mix[unknown] < 0.5:
			// It loads a little now and then, hidden behind what the GPU does.
			rate[p.source] += 0.1 * duty * part / float64(len(b.groups))
			loading[p.source] += 0.1 * duty * float64(working)
		}
	}

	// The network and its cost.
	received := p.receive * rate[network]
	b.received += (received + p.chatter) * tick
	if p.lossyLink {
		b.retransmits += received / 1448 * 0.003 * tick
	}
	demand += received / p.perCore
	demand += loading[cpu]*0.96 + loading[storage]*0.05 + 0.005*loaders

	// Disks.
	io := 0.0
	if n := loading[storage]; n > 0 && loaders > 0 {
		busy := min(n/max(loaders, 1), 1)
		io = 1 - math.Pow(1-min(busy, 0.98), max(loaders, 1))
		if !starved {
			io *= 0.3 // much of it comes from the page cache
		}
		if !p.nfs {
			b.readBytes += p.read * rate[storage] * tick
			b.readMicros += n * tick * 1e6
		}
	}
	noise := d.NormFloat64()
	if io > 0 {
		b.psiIO += min(io*0.95*math.Exp(0.03*noise), 1) * tick * 1e6
	}

	b.allotCPU(w, demand)
}

// allotCPU sets the CPU time that a pod gets of its demand.
//
//go:norace
func (b *pod) allotCPU(w *world, demand float64) {
	p, d := b.p, w.d
	demand *= w.noisy(0.02)
	got := demand
	pressure := 0.004 + 0.02*d.Float64()*min(demand, 1)
	if b.limit > 0 && demand > b.limit {
		got = b.limit
	}
	if p.crowded > 0 && demand > 0.6 {
		got *= p.crowded
		pressure = 1 - p.crowded*0.5
		b.runDelay += demand * (1 - p.crowded) * tick * 1e6
	}
	b.runDelay += demand * 0.004 * tick * 1e6
	b.runs += (demand*200 + 50) * tick
	b.cpuMicros += got * tick * 1e6
	// A period of the quota is 100 ms.
	b.demandInPeriod += demand * tick
	b.inPeriod += tick
	if b.inPeriod >= 0.1-tick/2 {
		if b.limit > 0 {
			b.periods++
			if over := b.demandInPeriod - b.limit*b.inPeriod; over > 0 {
				b.throttledPeriods++
				b.throttledMicros += over * 1e6
				b.psiCPU += min(0.97, over/b.demandInPeriod+0.3) * 0.1 * 1e6
			}
		}
		b.inPeriod, b.demandInPeriod = 0, 0
	}
	b.psiCPU += min(pressure, 1) * tick * 1e6
}

// noisy returns a factor around 1 with a standard deviation.
func (w *world) noisy(sigma float64) float64 { return w.d.around(1, sigma) }

// running reports whether the rank can work: its device has not failed.
func (r *rank) running(share float64) bool {
	f := &r.gpu.fault
	if (!f.lost && !f.hang) || share < f.at {
		return true
	}
	r.hung = true
	r.syncMicros += tick * 1e6
	r.waiting += tick * 1e6
	return false
}

// step moves a rank, and its GPU, by one tick.
//
//go:norace
func (r *rank) step(p *program, c event.GpuCause) {
	h, l, g, j := &p.host[c], &p.level[c], r.gpu, r.jitter
	r.launches += h.launches * j * tick
	r.graphs += h.graphs * tick
	r.copies += h.copies * tick
	r.h2d += h.h2d * j * tick
	r.d2h += h.d2h * j * tick
	r.copyMicros += h.copyShare * tick * 1e6
	r.syncs += h.syncs * tick
	r.syncMicros += h.syncShare * tick * 1e6
	r.waiting = 0
	if h.syncShare > 0.5 {
		r.waiting = 3000
		if p.iteration > 100 {
			r.waiting = r.syncMicros
		}
	}
	r.busy += l.util * tick

	g.sm += min(l.sm*j, 1) * tick
	g.occupancy += l.occupancy * tick
	g.tensor += min(l.tensor*j, 1) * tick
	g.dram += min(l.dram*j, 1) * tick
	g.received += h.h2d * j * tick
	g.sent += h.d2h * j * tick
	if p.several && (c == compute || c == collective) {
		g.nvlink += 2e9 * tick
	}
	g.now = c
	g.tickUtil[0] = max(g.tickUtil[0], l.util)
	g.tickUtil[1] = max(g.tickUtil[1], l.mem)
	g.tickPower = max(g.tickPower, l.power)
}

// step ends a tick of a device.
//
//go:norace
func (g *gpu) step() {
	g.took += tick
	g.ring[g.ticks%len(g.ring)] = g.tickUtil
	g.ticks++
	target := g.tickPower
	if target == 0 {
		target = 0.15
	}
	g.power += (target - g.power) * tick / 0.5
	g.tickUtil, g.tickPower = [2]float64{}, 0
}
