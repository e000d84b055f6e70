package scenario

import (
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// world is all nodes, pods and GPUs of a scenario while they run.
type world struct {
	d        dice
	scenario *Scenario
	pods     []*pod
	gpus     []*gpu
	// interval is how often the sources sample.
	interval time.Duration
	source   sources
	model    *model
	mig      bool
	// peersTalk: collectives go over TCP, where flows show them.
	peersTalk bool
	queue     []*event.Event
}

// sources are the capabilities of the cluster's event sources.
type sources struct {
	calls, nccl, processUtil, pressure, block, pcie, maxClock, allocation bool
	// utilWindow is the driver's sample period.
	utilWindow time.Duration
	// lossy: a part of all events does not arrive.
	lossy bool
}

// model is a kind of GPU.
type model struct {
	name   string
	watts  float64
	mhz    float64
	memory uint64
	gpm    bool
	// link is what the bus carries one way, bytes a second.
	link float64
}

var withGPM = []model{
	{
		"NVIDIA H100 80GB HBM3",
		700,
		1980,
		80 << 30,
		true,
		50e9,
	},
	{"NVIDIA H200", 700, 1980, 141 << 30, true, 50e9},
	{"NVIDIA B200", 1000, 1965, 180 << 30, true, 50e9},
	{"NVIDIA H100 PCIe", 350, 1755, 80 << 30, true, 50e9},
}

var withoutGPM = []model{
	{
		"NVIDIA A100-SXM4-80GB",
		400,
		1410,
		80 << 30,
		false,
		24e9,
	},
	{"NVIDIA A100-PCIE-40GB", 250, 1410, 40 << 30, false, 24e9},
	{"NVIDIA A10G", 300, 1710, 24 << 30, false, 24e9},
	{"Tesla T4", 70, 1590, 15 << 30, false, 12e9},
	{"NVIDIA L4", 72, 2040, 24 << 30, false, 24e9},
}

func newWorld(d dice, seed uint64) *world {
	w := &world{d: d, interval: time.Second}
	start := uint64(1_790_000_000)*1e9 + seed%1000*1e9 + d.Uint64N(1e9)
	w.scenario = &Scenario{Seed: seed, Start: start, End: start + uint64(window)}
	if d.chance(0.1) {
		w.interval = 500 * time.Millisecond
	}
	w.source = sources{
		calls: d.chance(
			0.85,
		),
		nccl:        d.chance(0.85),
		processUtil: d.chance(0.7),
		pressure:    d.chance(0.9),
		block:       d.chance(0.85),
		pcie:        d.chance(0.7),
		maxClock: d.chance(
			0.9,
		),
		allocation: d.chance(0.6),
		utilWindow: pick(d, time.Second, time.Second/6),
		lossy:      d.chance(0.1),
	}
	if d.chance(0.7) {
		w.model = &withGPM[d.IntN(len(withGPM))]
		w.mig = d.chance(0.07)
	} else {
		w.model = &withoutGPM[d.IntN(len(withoutGPM))]
	}
	w.peersTalk = d.chance(0.3)
	if !w.source.calls {
		w.label("[no calls]")
	}
	if !w.model.gpm {
		w.label("[no GPM]")
	}
	if w.mig {
		w.label("[MIG]")
	}
	return w
}

func (w *world) label(words string) {
	if w.scenario.Label != "" {
		w.scenario.Label += " "
	}
	w.scenario.Label += words
}

// level is what a GPU does in a segment: shares of its time, or of what it has.
type level struct{ util, sm, occupancy, tensor, dram, mem, power float64 }

// host is a rank's rate of driver calls in a segment, per second, and the state of its main thread.
type host struct {
	launches, graphs, copies, h2d, d2h, syncs float64
	copyShare, syncShare                      float64
	// cpu is the share of a CPU of the main thread.
	cpu float64
	// proxy are the threads that move collectives' data over the network.
	proxy float64
}

// program is what is drawn once for a workload.
type program struct {
	level [Causes]level
	host  [Causes]host
	// iteration is how long one is, s.
	iteration float64
	// workers are loader processes for each rank; 0: the main thread loads.
	workers int
	// source is where data comes from when loaders are not the bottleneck.
	source event.GpuCause
	// duty is the part of the time that loaders then work; cycle what they do with it.
	duty  float64
	cycle Shares
	// receive and read are bytes a second when loaders do nothing else, whole pod.
	receive, read float64
	requestBytes  float64
	// perCore is how many bytes a second one CPU takes from the network.
	perCore   float64
	nfs       bool
	lossyLink bool
	// chatter is bytes a second that every pod receives: scrapes, probes, heartbeats.
	chatter float64
	short   bool // connections live for seconds
	flows   int
	// collectives of one iteration.
	collectives float64
	several     bool
	capped      bool
	held        float64
	// limit is the CPU limit, as a multiple of the peak demand; 0: none.
	limit   float64
	crowded float64 // part of the demand that a crowded node leaves; 0: enough
	slow    throttled
}

type throttled struct {
	words string
	clock float64
	power float64 // of the board's own limit
	limit float64 // the limit in force, of the board's own
	hot   bool
}

func (w *world) draw(several bool) *program {
	d := w.d
	p := &program{several: several}
	p.iteration = d.log(0.08, 2.5)
	p.workers = pick(d, 0, 2, 4, 4, 8, 12)
	p.source = pick(d, network, storage, cpu)
	p.duty = d.between(0.1, 0.7)
	p.cycle.add(cpu, d.between(0.3, 0.95))
	p.cycle.add(p.source, 1-p.cycle[cpu])
	p.receive, p.read, p.requestBytes = d.log(4e6, 1.2e9), d.log(10e6, 1.5e9), d.log(16<<10, 1<<20)
	p.perCore = d.log(80e6, 800e6)
	p.nfs, p.lossyLink, p.short = d.chance(0.2), d.chance(0.15), d.chance(0.3)
	p.chatter = d.log(100, 30_000)
	p.flows = 1 + d.IntN(12)
	p.collectives = d.log(10, 300)
	p.held = d.between(0.1, 0.95)
	if d.chance(0.5) {
		p.limit = d.between(1.3, 4)
	}
	p.capped = d.chance(0.4)
	if d.chance(0.5) {
		p.slow = throttled{
			words: pick(d, "power-cap", "power-cap", "hw-slowdown,power-brake"),
			clock: d.between(0.3, 0.75),
			limit: d.between(0.3, 0.65),
		}
		p.slow.power = p.slow.limit
	} else {
		p.slow = throttled{
			words: pick(d, "sw-thermal", "hw-slowdown,hw-thermal"),
			clock: d.between(0.3, 0.75),
			limit: 1,
			power: d.between(0.35, 0.7),
			hot:   true,
		}
	}

	// The GPU.
	idle := level{power: d.between(0.13, 0.24)}
	for _, c := range []event.GpuCause{unknown, network, storage, cpu} {
		p.level[c] = idle
	}
	p.level[abandoned] = level{power: d.between(0.06, 0.2)}
	dense := level{
		util:      1,
		sm:        d.between(0.7, 0.97),
		occupancy: d.between(0.2, 0.6),
		tensor:    d.between(0.25, 0.75),
		dram:      d.between(0.1, 0.45),
		mem:       d.between(0.15, 0.5),
		power:     d.between(0.7, 0.99),
	}
	if d.chance(0.12) {
		dense.tensor = 0 // FP32
	}
	p.level[compute] = dense
	p.level[throttle] = dense
	p.level[throttle].power = p.slow.power
	p.level[memory] = level{
		util:      1,
		sm:        d.between(0.6, 0.95),
		occupancy: d.between(0.2, 0.7),
		tensor:    d.between(0, 0.15),
		dram:      d.between(0.6, 0.92),
		mem:       d.between(0.7, 1),
		power:     d.between(0.5, 0.85),
	}
	p.level[collective] = level{
		util:      d.between(0.97, 1),
		sm:        d.between(0.03, 0.25),
		occupancy: d.between(0.01, 0.1),
		tensor:    d.between(0, 0.01),
		dram:      d.between(0.005, 0.08),
		mem:       d.between(0, 0.08),
		power:     d.between(0.24, 0.45),
	}
	p.level[copying] = level{
		util:  d.between(0, 0.1),
		sm:    d.between(0, 0.04),
		dram:  d.between(0.01, 0.06),
		mem:   d.between(0.05, 0.4),
		power: d.between(0.18, 0.33),
	}

	// The host.
	spin := 0.03
	if d.chance(0.7) {
		spin = 0.99
	}
	ahead := d.between(0.15, 0.7) // the part of the compute time in which the main thread launches
	sync := d.chance(0.8)         // it waits at the end of each iteration; else it is held up in launches
	busy := host{
		launches:  d.log(1000, 15_000),
		cpu:       ahead + (1-ahead)*spin,
		syncs:     d.between(2, 20),
		syncShare: 1 - ahead,
	}
	if !sync {
		busy.syncs, busy.syncShare = 0.2, d.between(0, 0.08)
	}
	if d.chance(0.25) {
		busy.graphs, busy.launches = d.log(5, 60), d.between(0, 200)
	}
	busy.h2d, busy.copies = d.log(1e6, 400e6), d.between(2, 30)
	busy.copyShare = d.between(0, 0.03)
	p.host[compute], p.host[throttle] = busy, busy
	if d.chance(0.6) {
		busy.graphs, busy.launches = d.log(10, 100), d.between(0, 500)
	}
	p.host[memory] = busy
	wait := host{cpu: d.between(0.005, 0.04)}
	for _, c := range []event.GpuCause{unknown, network, storage, cpu} {
		p.host[c] = wait
	}
	p.host[abandoned] = host{cpu: d.between(0, 0.012)}
	p.host[collective] = host{cpu: spin, syncShare: d.between(0.85, 1), syncs: 2}
	if !sync {
		p.host[collective].syncShare = d.between(0.02, 0.2)
	}
	if d.chance(0.5) {
		p.host[collective].proxy = d.between(0.2, 1)
	}
	w.drawLaunch(p, spin)
	w.drawCopy(p, spin)
	return p
}

// drawLaunch makes a program that is held back by its host: by launches, or by synchronising all the time.
func (w *world) drawLaunch(p *program, spin float64) {
	d := w.d
	perLaunch := d.log(8e-6, 60e-6)
	l := level{util: d.between(0.25, 0.85)}
	h := host{
		launches:  1 / perLaunch,
		cpu:       d.between(0.92, 1),
		syncShare: d.between(0, 0.12),
		syncs:     d.log(1, 100),
		copies:    d.log(1, 100),
		h2d:       d.log(1e4, 1e7),
	}
	if d.chance(0.4) {
		// An answer is fetched after every few kernels.
		each := d.between(1, 12)
		perLaunch *= d.between(1.5, 5)
		l.util = d.between(0.2, 0.7)
		h.launches = 1 / perLaunch
		h.syncs, h.copies = h.launches/each, h.launches/each
		h.syncShare = d.between(0.1, 0.5)
		h.d2h, h.copyShare = h.copies*d.log(4, 4096), d.between(0.01, 0.1)
		h.cpu = 1 - h.syncShare*(1-spin)
	}
	part := d.between(0.08, 0.5) // of the SMs, that a small kernel has work for
	l.sm, l.occupancy, l.tensor = l.util*part, l.util*part*0.3, l.util*part*d.between(0, 0.25)
	l.dram, l.mem, l.power = l.util*d.between(0.02, 0.2), l.util*d.between(0.02, 0.3), d.between(0.24, 0.48)
	p.level[launch], p.host[launch] = l, h
}

// drawCopy makes a program that is held back by the bus.
func (w *world) drawCopy(p *program, spin float64) {
	d := w.d
	rate := w.model.link * d.between(0.6, 0.95)
	h := host{copies: d.log(20, 3000), syncs: d.between(1, 50)}
	switch {
	case d.chance(0.4): // pageable
		rate = d.between(2e9, 8e9)
		h.copyShare, h.cpu = d.between(0.9, 1), d.between(0.9, 1)
	case d.chance(0.5): // pinned, and waited for in the call
		h.copyShare, h.cpu = d.between(0.9, 1), spin
	default: // pinned, and waited for afterwards
		h.copyShare, h.syncShare, h.cpu = d.between(0, 0.03), d.between(0.88, 1), spin
	}
	switch x := d.Float64(); {
	case x < 0.75:
		h.h2d = rate
	case x < 0.9:
		h.d2h = rate
	default:
		h.h2d, h.d2h = rate*0.5, rate*0.5
	}
	p.host[copying] = h
}

// gpu is a device.
type gpu struct {
	node  string
	index uint32
	uuid  string
	ranks []*rank
	fault fault
	// info and parent identify the device, and the GPU that a MIG device is a part of. All events share them.
	info, parent *event.GpuDevice

	// Since the last sample, integrals of shares over s.
	took, sm, occupancy, tensor, dram float64
	received, sent, nvlink            float64
	// ring is util and mem of the last second's ticks; ticks counts all that were written.
	ring  [100][2]float64
	ticks int
	power float64 // smoothed, share of the board's own limit
	// Of the tick that is going on.
	tickUtil  [2]float64
	tickPower float64
	now       event.GpuCause
	clock     float64
	ecc       uint64
	eccAt     float64
	lost      bool
	sampled   bool
	old       uint64 // ECC errors of before
}

// fault is what goes wrong with a device.
type fault struct {
	at    float64 // share of the window
	xid   uint32
	lost  bool
	hang  bool
	ecc   uint64
	grows bool
}

// rank is a process with a GPU.
type rank struct {
	pod *pod
	gpu *gpu
	pid uint32
	// jitter keeps ranks from being the same.
	jitter float64

	// Counters since the start.
	launches, graphs, copies, h2d, d2h, copyMicros, syncs, syncMicros, collectives float64

	waiting     float64 // µs
	hung, ended bool
	busy        float64 // its own, s, since the last sample
}

// group are the ranks of a pod that do the same at the same time.
type group struct {
	ranks  []*rank
	phases []phase
	// left is the part of the current iteration, in segments, that is still to come.
	left     []segment
	segments [Causes]segment
}

type segment struct {
	cause event.GpuCause
	s     float64
}

// pod is a pod with its processes.
type pod struct {
	pod    *Pod
	name   string
	node   string
	p      *program
	groups []*group
	// judged: its truth is set already.
	judged bool

	cpuMicros, periods, throttledPeriods, throttledMicros float64
	cpuAt, periodsAt, throttledAt                         float64 // at the last sample
	limit                                                 float64 // CPUs; 0: none
	inPeriod, demandInPeriod                              float64
	runDelay, runs                                        float64 // µs
	psiCPU, psiIO, psiCPUAt, psiIOAt                      float64 // µs
	readBytes, readMicros                                 float64
	received, retransmits                                 float64
	sidecar                                               bool
	flows                                                 []*flow
	endpoint                                              *event.Endpoint // its own end of all its flows
	serial                                                int
}

// pod adds one to the world.
func (w *world) pod(p *program, ranks int, phases []phase) *pod {
	n := len(w.pods)
	b := &pod{name: fmt.Sprintf("train-%d", n), node: fmt.Sprintf("node-%d", n), p: p, sidecar: w.d.chance(0.15)}
	b.pod = &Pod{Namespace: "ml", Name: b.name, Node: b.node}
	w.pods = append(w.pods, b)
	w.scenario.Pods = append(w.scenario.Pods, b.pod)
	if ranks > 0 {
		w.ranks(b, ranks, phases)
	}
	return b
}

// ranks adds some to a pod, each with a GPU of its own.
func (w *world) ranks(b *pod, n int, phases []phase) {
	g := &group{phases: phases}
	b.groups = append(b.groups, g)
	for range n {
		index := 0
		for _, other := range w.gpus {
			if other.node == b.node {
				index++
			}
		}
		device := &gpu{
			node:  b.node,
			index: uint32(index),
			uuid:  fmt.Sprintf("GPU-%s-%d", b.node, index),
			power: 0.2,
			clock: 0.95,
		}
		if w.d.chance(0.05) {
			device.old = 1 + w.d.Uint64N(50)
		}
		w.gpus = append(w.gpus, device)
		w.rank(b, g, device)
	}
}

// share adds a rank of a pod on a device of another pod.
func (w *world) share(b *pod, device *gpu, phases []phase) {
	g := &group{phases: phases}
	b.groups = append(b.groups, g)
	w.rank(b, g, device)
}

func (w *world) rank(b *pod, g *group, device *gpu) {
	r := &rank{
		pod:    b,
		gpu:    device,
		pid:    uint32(1000*len(w.pods) + 10*len(w.gpus) + len(g.ranks) + 7),
		jitter: w.d.around(1, 0.03),
	}
	g.ranks = append(g.ranks, r)
	device.ranks = append(device.ranks, r)
}
