// Package scenario simulates pods that work on GPUs and generates the events that tracers would send, together with the
// truth: what the GPUs' time went to. The rules of package why are tuned and tested on these events. The simulation
// knows nothing of the rules.
//
// It simulates training and inference programs as PyTorch runs them: one process ("rank") for each GPU, whose main
// thread takes a batch from loaders, copies it, launches kernels, and waits; loader processes that fetch and decode;
// collectives between ranks. Each advances in ticks of 10 ms, and in each tick the GPU's time goes to one cause. The
// shares of these causes are the truth. The current segment determines how fast each counter grows; the counters are
// sampled at intervals, with the jitter, the noise and the gaps of real sources.
//
// Assumptions, each of which a real program may break:
//
//   - Loaders that are the bottleneck work all the time, also while the GPU computes: it is the queue between them that
//     is empty. Loaders that are not the bottleneck work a part of the time. Programs without loader processes fetch
//     and decode in the main thread, and only while the GPU waits.
//   - A collective that waits for others shows as a kernel that runs (utilisation 100 %) on few SMs, at little power,
//     without tensor cores and DRAM.
//   - A thread that waits for the GPU spins on a CPU (CUDA's default where there are CPUs enough) or sleeps, by
//     program.
//   - A host-bound program launches a kernel each 8 to 60 µs, and each kernel lasts less than that; or it synchronises
//     each few kernels.
//   - Copies of pinned memory reach 60 to 95 % of the link, those of pageable memory 2 to 8 GB/s with one CPU busy.
//   - Healthy programs at the GPU's own power limit show power-cap too, with clocks at 80 to 95 % of the highest; a GPU
//     that is throttled has less than 75 %.
//   - GPM is there from Hopper on. Utilisation is the driver's own last sample, of 1/6 s or 1 s.
//   - A GPU that is idle for a reason that nothing sees does a little work now and then; one that is abandoned does
//     none. Time spent so is mixed with work only, not with other waits: nothing could tell those apart.
package scenario

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Causes is how many there are.
const Causes = int(event.GpuCause_GPU_CAUSE_SICK) + 1

// Short names of what the package writes often.
const (
	unknown    = event.GpuCause_GPU_CAUSE_UNKNOWN
	abandoned  = event.GpuCause_GPU_CAUSE_ABANDONED
	network    = event.GpuCause_GPU_CAUSE_NETWORK
	storage    = event.GpuCause_GPU_CAUSE_STORAGE
	cpu        = event.GpuCause_GPU_CAUSE_CPU
	launch     = event.GpuCause_GPU_CAUSE_LAUNCH
	copying    = event.GpuCause_GPU_CAUSE_COPY
	collective = event.GpuCause_GPU_CAUSE_COLLECTIVE
	memory     = event.GpuCause_GPU_CAUSE_MEMORY
	compute    = event.GpuCause_GPU_CAUSE_COMPUTE
	throttle   = event.GpuCause_GPU_CAUSE_THROTTLE
	sick       = event.GpuCause_GPU_CAUSE_SICK
)

// Shares are of time, by cause; together 1.
type Shares [Causes]float64

// Dominant is the cause with the largest share, and by how much it is larger than the second one's, which is next.
func (s *Shares) Dominant() (first, next event.GpuCause, margin float64) {
	order := make([]event.GpuCause, Causes)
	for i := range order {
		order[i] = event.GpuCause(i)
	}
	slices.SortStableFunc(order, func(a, b event.GpuCause) int {
		switch {
		case s[a] > s[b]:
			return -1
		case s[a] < s[b]:
			return 1
		}
		return 0
	})
	return order[0], order[1], s[order[0]] - s[order[1]]
}

func (s *Shares) add(c event.GpuCause, d float64) { s[c] += d }

func (s *Shares) normalise() {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	if sum > 0 {
		for i := range s {
			s[i] /= sum
		}
	}
}

func (s *Shares) String() string {
	var parts []string
	for i, v := range s {
		if v >= 0.005 {
			parts = append(parts, fmt.Sprintf("%s %.0f%%", event.GpuCause(i).Word(), 100*v))
		}
	}
	return strings.Join(parts, ", ")
}

// Pod is one pod of a scenario.
type Pod struct {
	Namespace, Name, Node string
	// Truth is what the time of its GPUs went to.
	Truth Shares
}

// Scenario is a window of one program's life.
type Scenario struct {
	Seed uint64
	// Label describes the program and its causes.
	Label string
	// Start and End are of the window, ns since the Unix epoch.
	Start, End uint64
	Pods       []*Pod
	// Events are in the order of time, as the viewer merges them.
	Events []*event.Event
}

// window is how long a scenario is.
const window = 30 * time.Second

// dice are the random choices of a scenario.
type dice struct{ *rand.Rand }

func (d dice) chance(p float64) bool           { return d.Float64() < p }
func (d dice) between(a, b float64) float64    { return a + (b-a)*d.Float64() }
func (d dice) log(a, b float64) float64        { return a * math.Exp(d.Float64()*math.Log(b/a)) }
func (d dice) around(x, sigma float64) float64 { return x * math.Exp(sigma*d.NormFloat64()) }

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

// Generate makes the scenario of a seed: the same each time.
func Generate(seed uint64) *Scenario {
	d := dice{rand.New(rand.NewPCG(seed, 0x6f726238))}
	w := newWorld(d, seed)
	switch primary := event.GpuCause(d.IntN(Causes)); primary {
	case abandoned:
		w.abandoned()
	case sick:
		w.sick()
	case collective:
		w.collective()
	default:
		w.ordinary(primary)
	}
	w.run()
	return w.scenario
}

// phase is a time in which the mix does not change.
type phase struct {
	until float64 // share of the window
	mix   Shares
}

// waits are the causes for which loaders are to blame, healthy those for which nobody is.
var (
	waits   = []event.GpuCause{network, storage, cpu}
	healthy = []event.GpuCause{compute, memory}
)

// work is what is not lost: one of the healthy causes, or throttled work.
func (w *world) work() event.GpuCause {
	if w.d.chance(0.7) {
		return compute
	}
	return memory
}

// partner is a second cause beside a first.
func (w *world) partner(first event.GpuCause, ranks int) event.GpuCause {
	for {
		c := pick(w.d, network, storage, cpu, launch, copying, collective, memory, compute)
		switch {
		case c == first, first == unknown && !slices.Contains(healthy, c), c == collective && ranks < 2:
		case first == throttle && (slices.Contains(healthy, c) || c == launch):
		default:
			return c
		}
	}
}

// phases draws how one cause comes to dominate, and in which form.
func (w *world) phases(primary event.GpuCause, ranks int) []phase {
	d := w.d
	rest := w.work()
	if primary == throttle {
		rest = throttle
	}
	pure := func(c event.GpuCause) (m Shares) {
		share := d.between(0.75, 0.97)
		if c == unknown {
			share = d.between(0.6, 0.96)
		}
		m.add(c, share)
		if slices.Contains(healthy, c) {
			m.add(w.partner(c, ranks), 1-share)
		} else {
			m.add(rest, 1-share)
		}
		return m
	}
	switch x := d.Float64(); {
	case x < 0.35:
		w.label("pure")
		return []phase{{1, w.withCollectives(pure(primary), ranks)}}
	case x < 0.8:
		var m Shares
		share, second := d.between(0.5, 0.72), w.partner(primary, ranks)
		m.add(primary, share)
		m.add(second, (1-share)*d.between(0.6, 1))
		sum := m[primary] + m[second]
		m.add(rest, 1-sum)
		w.label("with " + second.Word())
		return []phase{{1, w.withCollectives(m, ranks)}}
	default:
		second := w.partner(primary, ranks)
		if primary == unknown {
			second = w.work()
		}
		cut := d.between(0.58, 0.85)
		var other Shares
		other.add(second, d.between(0.8, 0.97))
		other.add(w.work(), 1-other[second])
		first, then := w.withCollectives(pure(primary), ranks), w.withCollectives(other, ranks)
		if d.chance(0.5) {
			w.label("then " + second.Word())
			return []phase{{cut, first}, {1, then}}
		}
		w.label("after " + second.Word())
		return []phase{{1 - cut, then}, {1, first}}
	}
}

// withCollectives adds the time that several ranks always spend on each other.
func (w *world) withCollectives(m Shares, ranks int) Shares {
	if ranks > 1 && m[collective] == 0 && m[unknown] < 0.5 {
		share := w.d.between(0.02, 0.1)
		for i := range m {
			m[i] *= 1 - share
		}
		m.add(collective, share)
	}
	m.normalise()
	return m
}

// ordinary is a program whose time goes to a cause, and to others less.
func (w *world) ordinary(primary event.GpuCause) {
	d := w.d
	w.label(primary.Word())
	ranks := 1
	if d.chance(0.4) {
		ranks = pick(d, 2, 4, 8)
	}
	pods := 1
	if d.chance(0.2) {
		pods = pick(d, 2, 3)
	}
	p := w.draw(ranks*pods > 1)
	phases := w.phases(primary, ranks*pods)
	for range pods {
		w.pod(p, ranks, phases)
	}
	if d.chance(0.02) {
		// A program's own mistake, in another of its processes: it slows nothing down.
		w.label("and a program's XID")
		w.gpus[0].fault = fault{at: d.between(0.1, 0.9), xid: pick(d, uint32(13), 31, 43, 45)}
	}
}

// collective is ranks that wait for one of them: in another pod, or in their own.
func (w *world) collective() {
	d := w.d
	w.label("collective")
	p := w.draw(true)
	share := d.between(0.55, 0.93)
	var others, slow Shares
	others.add(collective, share)
	others.add(compute, 1-share)
	switch x := d.Float64(); {
	case x < 0.1:
		w.label("that hangs")
		p.iteration = 1000
		others = Shares{}
		others.add(collective, 1)
		for range pick(d, 2, 3) {
			w.pod(p, pick(d, 1, 2), []phase{{1, others}})
		}
	case x < 0.65:
		why := pick(d, network, storage, cpu, throttle, copying)
		w.label("for a pod with " + why.Word())
		if why == throttle {
			slow.add(throttle, 1)
		} else {
			slow.add(why, share*d.between(0.92, 1.02))
			slow.add(compute, 1-slow[why])
		}
		ranks := pick(d, 1, 1, 2)
		for range pick(d, 1, 2) {
			w.pod(p, ranks, []phase{{1, others}})
		}
		w.pod(w.draw(true), ranks, []phase{{1, slow}})
	default:
		w.label("for a GPU of the same pod")
		slow.add(compute, 0.97)
		slow.add(collective, 0.03)
		pod := w.pod(p, pick(d, 3, 7), []phase{{1, others}})
		w.ranks(pod, 1, []phase{{1, slow}})
	}
}

// abandoned is memory that is held, and nothing else.
func (w *world) abandoned() {
	d := w.d
	w.label("abandoned")
	p := w.draw(false)
	p.workers, p.chatter = 0, d.log(10, 5000)
	var m Shares
	m.add(abandoned, 1)
	pod := w.pod(p, pick(d, 1, 1, 1, 2, 4), []phase{{1, m}})
	if d.chance(0.12) {
		w.label("on a GPU that another works on")
		var work Shares
		work.add(compute, 0.95)
		work.add(network, 0.05)
		other := w.pod(w.draw(false), 0, nil)
		other.name, other.node = "tenant-0", pod.node
		other.pod.Name, other.pod.Node = other.name, pod.node
		w.share(other, pod.groups[0].ranks[0].gpu, []phase{{1, work}})
	}
}

// sick is a device that fails under a program.
func (w *world) sick() {
	d := w.d
	w.label("sick")
	p := w.draw(false)
	var m Shares
	m.add(pick(d, compute, memory), d.between(0.8, 0.97))
	m.add(pick(d, network, cpu, copying), 1-m[compute]-m[memory])
	pod := w.pod(p, pick(d, 1, 1, 2, 4), []phase{{1, m}})
	pod.pod.Truth.add(sick, 1)
	pod.judged = true
	g := pod.groups[0].ranks[0].gpu
	at := d.between(0.05, 0.6)
	switch x := d.Float64(); {
	case x < 0.2:
		w.label("off the bus")
		g.fault = fault{at: at, xid: 79, lost: true}
	case x < 0.6:
		g.fault = fault{at: at, xid: pick(d, uint32(48), 62, 64, 74, 92, 94, 95, 119, 120, 140), hang: true}
		w.label(fmt.Sprintf("with XID %d", g.fault.xid))
	default:
		w.label("with ECC errors")
		g.fault = fault{at: at, ecc: 1 + d.Uint64N(20), grows: true}
		if d.chance(0.5) {
			g.fault.xid = pick(d, uint32(63), 94)
		}
	}
}
