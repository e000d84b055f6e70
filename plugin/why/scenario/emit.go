package scenario

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// flow is a conversation of a pod.
type flow struct {
	id         string
	weight     float64
	received   float64
	sent       float64
	chatter    bool
	peer       *pod
	began      uint64
	retransmit float64
}

// run lets the world go on for the window, and has its sources look.
func (w *world) run() {
	for _, b := range w.pods {
		w.bound(b)
		w.connect(b)
	}
	type look struct {
		at float64 // s
		do func(at float64)
	}
	var looks []look
	step := w.interval.Seconds()
	for _, node := range w.nodes() {
		phase, late := w.d.between(0, step), 0.0
		if w.d.chance(0.1) {
			late = w.d.between(0, 2) // the node began to stream later
		}
		for at := phase + late; at < window.Seconds(); at += step {
			jitter := w.d.between(0, 0.03)
			looks = append(looks, look{at + jitter, func(at float64) { w.lookGPUs(node, at) }})
		}
		// These look at whole intervals of the wall clock.
		for at := 0.083 + late; at < window.Seconds(); at += step {
			looks = append(looks, look{at, func(at float64) { w.lookResources(node, at) }}, look{at + 0.02, func(at float64) { w.lookFlows(node, at) }})
		}
	}
	slices.SortStableFunc(looks, func(a, b look) int { return cmp.Compare(a.at, b.at) })
	next := 0
	ticks := int(window.Seconds() / tick)
	for i := range ticks {
		now := float64(i) * tick
		for next < len(looks) && looks[next].at <= now {
			looks[next].do(now)
			next++
		}
		share := now / window.Seconds()
		for _, b := range w.pods {
			w.step(b, share)
		}
		for _, g := range w.gpus {
			g.step(w.d)
			w.fails(g, share, now)
		}
	}
	for _, b := range w.pods {
		b.pod.Truth.normalise()
	}
	w.lose()
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

// bound gives a pod its CPU limit.
func (w *world) bound(b *pod) {
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
		// All that the node has is asked for by several.
		own := *p
		own.crowded = d.between(0.4, 0.8)
		b.p = &own
	}
}

// connect gives a pod its conversations.
func (w *world) connect(b *pod) {
	for range b.p.flows {
		b.flows = append(b.flows, w.flow(b, w.d.between(0.3, 1)))
	}
	b.flows = append(b.flows, &flow{id: b.id(), chatter: true})
	if w.peersTalk {
		for _, other := range w.pods {
			if other != b && other.node != b.node {
				b.flows = append(b.flows, &flow{id: b.id(), peer: other})
			}
		}
	}
}

func (b *pod) id() string {
	b.serial++
	return fmt.Sprintf("%s-%d", b.name, b.serial)
}

func (w *world) flow(b *pod, weight float64) *flow { return &flow{id: b.id(), weight: weight} }

func (w *world) time(at float64) uint64 { return w.scenario.Start + uint64(at*1e9) }

func (w *world) emit(ev *event.Event) { w.queue = append(w.queue, ev) }

// of is an event of a pod's container.
func (b *pod) of(at uint64) *event.Event {
	return &event.Event{Time: at, Node: b.node, Namespace: "ml", Pod: b.name, Container: "main", Workload: "job/train"}
}

// measured is a share as a percentage with the noise of a measurement; nil where it is not told.
func (w *world) measured(share float64, told bool) *float64 {
	if !told {
		return nil
	}
	p := min(max(100*share*w.noisy(1, 0.02), 0), 100)
	return &p
}

func (w *world) device(g *gpu) *event.GpuDevice {
	d := &event.GpuDevice{Uuid: g.uuid, Index: proto.Uint32(g.index), Name: w.model.name, Driver: "580.95.05"}
	if w.mig {
		d.Parent, d.ParentIndex, d.GpuInstance = w.whole(g).GetUuid(), proto.Uint32(g.index), proto.Uint32(7)
	}
	return d
}

// whole is the GPU that a MIG device is a part of: each of its own.
func (w *world) whole(g *gpu) *event.GpuDevice {
	return &event.GpuDevice{Uuid: "whole-" + g.uuid, Index: proto.Uint32(g.index), Name: w.model.name, Driver: "580.95.05"}
}

// users are the containers on a device.
func (g *gpu) users() (names []string) {
	for _, r := range g.ranks {
		if n := "ml/" + r.pod.name + "/main"; !r.ended && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// lookGPUs is one look of a node's tracer at its GPUs, and at what was asked of the driver.
func (w *world) lookGPUs(node string, at float64) {
	now := w.time(at)
	for _, g := range w.gpus {
		if g.node != node || g.lost {
			continue
		}
		w.lookGPU(g, now, at)
	}
}

func (w *world) lookGPU(g *gpu, now uint64, at float64) {
	d := w.d
	took := max(g.took, tick)
	first := !g.told
	g.told = true
	id := w.device(g)
	period := proto.Uint64(uint64(took * 1e6))
	total := w.model.memory
	if w.mig {
		total /= 7
	}
	used := uint64(0)
	for _, r := range g.ranks {
		if r.ended {
			continue
		}
		held := uint64(r.pod.p.held * float64(total) / float64(len(g.ranks)))
		used += held
		ev := r.pod.of(now)
		p := &event.GpuProcess{Pid: r.pid, Comm: []byte("python3"), Type: "compute", MemoryBytes: &held}
		if w.source.processUtil && !w.mig && !first {
			if n := uint32(math.Round(100 * min(r.busy/took, 1) * w.noisy(1, 0.05))); n > 0 {
				p.SmPercent = proto.Uint32(min(n, 100))
			}
		}
		r.busy = 0
		ev.Kind = &event.Event_Gpu{Gpu: &event.Gpu{What: event.GpuWhat_GPU_WHAT_PROCESS, Gpu: id, Proc: p, PeriodMicros: period}}
		w.emit(ev)
	}
	a := &event.GpuActivity{}
	if !w.mig {
		util, mem := g.recent(w.source.utilWindow)
		a.GpuPercent, a.MemoryPercent = proto.Uint32(uint32(math.Round(100*util))), proto.Uint32(uint32(math.Round(100*mem)))
	}
	if w.model.gpm && !first {
		a.SmPercent, a.OccupancyPercent = w.measured(g.sm/took, true), w.measured(g.occupancy/took, true)
		a.TensorPercent, a.DramPercent = w.measured(g.tensor/took, true), w.measured(g.dram/took, true)
	}
	if (w.model.gpm || w.source.pcie) && !first && !w.mig {
		a.PcieReceivedPerSecond, a.PcieSentPerSecond = proto.Uint64(uint64(g.received/took*1.03)), proto.Uint64(uint64(g.sent/took*1.03))
	}
	if w.model.gpm && !first && !w.mig {
		a.NvlinkReceivedPerSecond, a.NvlinkSentPerSecond = proto.Uint64(uint64(g.nvlink/took)), proto.Uint64(uint64(g.nvlink/took))
	}
	users := g.users()
	ev := &event.Event{Time: now, Node: g.node}
	k := &event.Gpu{
		What: event.GpuWhat_GPU_WHAT_DEVICE, Gpu: id, Activity: a, PeriodMicros: period, Memory: &event.GpuMemory{TotalBytes: &total, UsedBytes: &used},
		Processes: proto.Uint32(uint32(len(g.ranks))), OwnProcesses: proto.Uint32(uint32(len(g.ranks))), UsedBy: strings.Join(users, ","),
	}
	if w.source.allocation {
		k.Allocated, k.AllocatedTo = proto.Uint32(1), users[0]
	}
	if !w.mig {
		k.Health = w.health(g, d, at)
	}
	ev.Kind = &event.Event_Gpu{Gpu: k}
	w.emit(ev)
	if w.mig {
		// The GPU that it is a part of: clocks, power and errors are the whole one's, and what runs on it is not told.
		whole := &event.Gpu{What: event.GpuWhat_GPU_WHAT_DEVICE, Gpu: w.whole(g), Activity: &event.GpuActivity{}, PeriodMicros: period, Health: w.health(g, d, at)}
		w.emit(&event.Event{Time: now, Node: g.node, Kind: &event.Event_Gpu{Gpu: whole}})
	}
	g.took, g.sm, g.occupancy, g.tensor, g.dram, g.received, g.sent, g.nvlink = 0, 0, 0, 0, 0, 0, 0, 0
	if !w.source.calls {
		return
	}
	for _, r := range g.ranks {
		if r.ended {
			continue
		}
		u := func(f float64) *uint64 { return proto.Uint64(uint64(max(f, 0))) }
		c := &event.GpuCalls{
			Launches: u(r.launches), GraphLaunches: u(r.graphs), Copies: u(r.copies), HostToDeviceBytes: u(r.h2d), DeviceToHostBytes: u(r.d2h), DeviceToDeviceBytes: u(0), OtherBytes: u(0),
			CopyMicros: u(r.copyMicros), Syncs: u(r.syncs), SyncMicros: u(r.syncMicros), Since: w.scenario.Start,
		}
		if r.waiting > 0 {
			c.WaitingMicros = u(r.waiting)
		}
		if w.source.nccl && r.pod.p.several {
			c.Collectives = u(r.collectives)
		}
		ev := r.pod.of(now + 2_000_000)
		ev.Kind = &event.Event_Gpu{Gpu: &event.Gpu{What: event.GpuWhat_GPU_WHAT_CALLS, Gpu: nil, Proc: &event.GpuProcess{Pid: r.pid, Comm: []byte("python3")}, Calls: c, PeriodMicros: period}}
		w.emit(ev)
	}
}

// recent are utilisation and memory utilisation of the driver's last sample period.
func (g *gpu) recent(of time.Duration) (util, mem float64) {
	n := min(max(int(of.Seconds()/tick), 1), len(g.ring))
	if n == 0 {
		return 0, 0
	}
	for _, s := range g.ring[len(g.ring)-n:] {
		util += s[0]
		mem += s[1]
	}
	return min(util/float64(n), 1), min(mem/float64(n), 1)
}

func (w *world) health(g *gpu, d dice, at float64) *event.GpuHealth {
	m := w.model
	h := &event.GpuHealth{}
	limit, clock, words := 1.0, d.between(0.9, 1), "none"
	temperature := 35 + 40*g.power
	p := g.ranks[0].pod.p
	switch {
	case g.now == throttle && !g.ranks[0].hung:
		limit, clock = p.slow.limit, p.slow.clock*d.between(0.95, 1.05)
		if d.chance(0.93) {
			words = p.slow.words
		}
		if p.slow.hot {
			temperature = d.between(84, 94)
		}
	case g.now == abandoned:
		words = "idle"
		if p.held > 0.3 {
			clock = 0.17 // it has gone to sleep
		}
	case (g.now == compute || g.now == memory) && !g.ranks[0].hung:
		if g.power > 0.9 || p.capped && g.power > 0.75 {
			words, clock = "power-cap", d.between(0.82, 0.95)
		}
	case slices.Contains([]event.GpuCause{unknown, network, storage, cpu}, g.now):
		if d.chance(0.5) {
			words = "idle"
		}
	}
	if g.throttledAt(w, at) {
		limit = p.slow.limit
	}
	h.PowerMilliwatts = proto.Uint32(uint32(1000 * m.watts * min(g.power*w.noisy(1, 0.02), limit*1.02)))
	h.PowerLimitMilliwatts = proto.Uint32(uint32(1000 * m.watts * limit))
	h.TemperatureCelsius = proto.Uint32(uint32(temperature))
	h.SmMhz = proto.Uint32(uint32(clock * m.mhz))
	if w.source.maxClock {
		h.MaxSmMhz = proto.Uint32(uint32(m.mhz))
	}
	h.MemoryMhz = proto.Uint32(2619)
	h.Throttle = words
	h.EccCorrected, h.EccUncorrected = proto.Uint64(g.old), proto.Uint64(g.old+g.ecc)
	h.RemappedRows = proto.Uint32(0)
	return h
}

// throttledAt: the limit in force does not come and go with the work.
func (g *gpu) throttledAt(_ *world, at float64) bool {
	for _, r := range g.ranks {
		for _, gr := range r.pod.groups {
			if slices.Contains(gr.ranks, r) && gr.at(at / window.Seconds()).mix[throttle] > 0 {
				return true
			}
		}
	}
	return false
}

// fails lets a device's fault happen.
func (w *world) fails(g *gpu, share, at float64) {
	f := &g.fault
	if f.at == 0 || share < f.at {
		return
	}
	if f.xid != 0 {
		ev := &event.Event{Time: w.time(at), Node: g.node}
		if w.d.chance(0.7) {
			ev = g.ranks[0].pod.of(w.time(at))
		}
		ev.Kind = &event.Event_Gpu{Gpu: &event.Gpu{
			What: event.GpuWhat_GPU_WHAT_XID, Gpu: w.device(g), Xid: proto.Uint32(f.xid), Message: fmt.Sprintf("XID %d", f.xid), UsedBy: strings.Join(g.users(), ","),
		}}
		w.emit(ev)
		f.xid = 0
	}
	if f.lost && !g.lost {
		g.lost = true
		w.emit(&event.Event{Time: w.time(at + 0.3), Node: g.node, Kind: &event.Event_Gpu{Gpu: &event.Gpu{What: event.GpuWhat_GPU_WHAT_LOST, Gpu: w.device(g), Message: "the GPU has fallen off the bus"}}})
	}
	if f.grows && at-g.eccAt > 5 {
		g.eccAt = at
		g.ecc += f.ecc
	}
}

// lookResources is one look at the containers of a node.
func (w *world) lookResources(node string, at float64) {
	for _, b := range w.pods {
		if b.node == node {
			w.lookPod(b, at)
		}
	}
}

func (w *world) lookPod(b *pod, at float64) {
	step := w.interval.Seconds()
	ev := b.of(w.time(at))
	u := func(f float64) *uint64 { return proto.Uint64(uint64(max(math.Round(f), 0))) }
	percent := func(micros float64) *uint64 { return u(min(micros/step/1e4, 100)) }
	r := &event.Resources{Id: b.name, IntervalMicros: u(step * 1e6)}
	r.Cpu = &event.ResourcesCPU{Micros: u(b.cpuMicros), Millis: u((b.cpuMicros - b.cpuAt) / step / 1e3)}
	if b.limit > 0 {
		r.Cpu.LimitMillis, r.Cpu.Periods, r.Cpu.ThrottledPeriods, r.Cpu.ThrottledMicros = u(b.limit*1000), u(b.periods), u(b.throttledPeriods), u(b.throttledMicros)
		if n := b.periods - b.periodsAt; n > 0 {
			r.Cpu.ThrottledPercent = u(100 * (b.throttledPeriods - b.throttledAt) / n)
		}
	}
	r.RunQueue = &event.ResourcesRunQueue{Runs: u(b.runs), DelayMicros: u(b.runDelay)}
	if w.source.pressure {
		r.Pressure = &event.ResourcesPressure{
			CpuSomeMicros: u(b.psiCPU), CpuSomePercent: percent(b.psiCPU - b.psiCPUAt), IoSomeMicros: u(b.psiIO), IoSomePercent: percent(b.psiIO - b.psiIOAt),
			MemorySomeMicros: u(0), MemorySomePercent: u(0),
		}
	}
	if w.source.block {
		r.Io = &event.ResourcesIO{ReadRequests: u(b.readBytes / b.p.requestBytes), ReadBytes: u(b.readBytes), ReadMicros: u(b.readMicros), ReadDeviceMicros: u(b.readMicros * 0.8)}
	}
	b.cpuAt, b.periodsAt, b.throttledAt, b.psiCPUAt, b.psiIOAt = b.cpuMicros, b.periods, b.throttledPeriods, b.psiCPU, b.psiIO
	ev.Kind = &event.Event_Resources{Resources: r}
	w.emit(ev)
	if b.sidecar {
		side := b.of(w.time(at))
		side.Container = "proxy"
		side.Kind = &event.Event_Resources{Resources: &event.Resources{Id: b.name + "-proxy", IntervalMicros: u(step * 1e6), Cpu: &event.ResourcesCPU{Micros: u(at * 20000), Millis: u(20)}}}
		w.emit(side)
	}
}

// lookFlows is one walk over the sockets of a node.
func (w *world) lookFlows(node string, at float64) {
	now := w.time(at)
	for _, b := range w.pods {
		if b.node != node {
			continue
		}
		data := b.received
		b.received = 0
		chatter := b.p.chatter * w.interval.Seconds()
		data = max(data-chatter, 0)
		weights := 0.0
		for _, f := range b.flows {
			weights += f.weight
		}
		retransmits := b.retransmits
		b.retransmits = 0
		for i, f := range b.flows {
			switch {
			case f.chatter:
				f.received += chatter
				f.sent += chatter * 10
			case f.peer != nil:
				if grown := w.talk(b); grown > 0 {
					f.received += grown
					f.sent += grown
				}
			default:
				f.received += data * f.weight / weights
				f.sent += data * f.weight / weights / 100
				f.retransmit += retransmits * f.weight / weights
			}
			phase := event.Phase_PHASE_UPDATE
			if b.p.short && f.weight > 0 && w.d.chance(0.3*w.interval.Seconds()) {
				phase = event.Phase_PHASE_CLOSED
				b.flows[i] = w.flow(b, f.weight)
				b.flows[i].began = now
			}
			w.emit(w.flowEvent(b, f, now, phase))
		}
	}
}

// talk is what a pod gets of another for collectives in an interval.
func (w *world) talk(b *pod) float64 {
	total := 0.0
	for _, g := range b.groups {
		for _, r := range g.ranks {
			if r.gpu.now == compute || r.gpu.now == collective {
				total += 100e6 * w.interval.Seconds() * w.noisy(1, 0.2)
			}
		}
	}
	return total
}

func (w *world) flowEvent(b *pod, f *flow, now uint64, phase event.Phase) *event.Event {
	ev := b.of(now)
	k := &event.Flow{Id: f.id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, StartTime: f.began, RoleKnown: true}
	self := &event.Endpoint{Address: []byte{10, 0, 0, byte(len(b.name))}, Port: 40000, Namespace: "ml", Pod: b.name, Workload: "job/train", Node: b.node}
	own := &event.Counters{BytesSent: uint64(f.sent), BytesReceived: uint64(f.received), Retransmits: proto.Uint64(uint64(f.retransmit)), SrttMicros: proto.Uint32(800)}
	switch {
	case f.chatter: // the pod is scraped: it answers
		k.Src, k.Dst = &event.Endpoint{Address: []byte{10, 1, 0, 9}, Port: 50000, Namespace: "monitoring", Pod: "prometheus-0"}, self
		k.DstCounters, k.Observed = own, event.Side_SIDE_DST
	case f.peer != nil:
		k.Src, k.Dst = self, &event.Endpoint{Address: []byte{10, 0, 1, 7}, Port: 29500, Namespace: "ml", Pod: f.peer.name, Workload: "job/train", Node: f.peer.node}
		k.SrcCounters, k.Observed = own, event.Side_SIDE_SRC
		k.DstCounters = &event.Counters{BytesSent: own.BytesReceived, BytesReceived: own.BytesSent}
	default:
		k.Src, k.Dst = self, &event.Endpoint{Address: []byte{52, 1, 2, 3}, Port: 443}
		k.SrcCounters, k.Observed = own, event.Side_SIDE_SRC
	}
	ev.Kind = &event.Event_Flow{Flow: k}
	return ev
}

// lose has events not arrive, which is told.
func (w *world) lose() {
	if !w.source.lossy {
		return
	}
	lost := map[string]uint64{}
	w.queue = slices.DeleteFunc(w.queue, func(ev *event.Event) bool {
		if ev.GetGpu().GetWhat() == event.GpuWhat_GPU_WHAT_XID || ev.GetGpu().GetWhat() == event.GpuWhat_GPU_WHAT_LOST || !w.d.chance(0.05) {
			return false
		}
		lost[ev.GetNode()]++
		return true
	})
	for _, node := range w.nodes() {
		if n := lost[node]; n > 0 {
			w.emit(&event.Event{Time: w.scenario.End - 1, Node: node, Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: n}}})
		}
	}
}
