package scenario

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// driver is the version of the GPU driver.
const driver = "580.95.05"

// measured returns a share as a percentage with the noise of a measurement.
func (w *world) measured(share float64) *float64 {
	p := min(max(100*share*w.noisy(0.02), 0), 100)
	return &p
}

func (w *world) newDevice(g *gpu) *event.GpuDevice {
	d := &event.GpuDevice{Uuid: g.uuid, Index: proto.Uint32(g.index), Name: w.model.name, Driver: driver}
	if w.mig {
		d.Parent, d.ParentIndex, d.GpuInstance = parentUUID(g), proto.Uint32(g.index), proto.Uint32(7)
	}
	return d
}

// newParent is the GPU that a MIG device is a part of. Each MIG device has its own.
func (w *world) newParent(g *gpu) *event.GpuDevice {
	return &event.GpuDevice{Uuid: parentUUID(g), Index: proto.Uint32(g.index), Name: w.model.name, Driver: driver}
}

func parentUUID(g *gpu) string { return "whole-" + g.uuid }

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

// sampleGPUs samples the GPUs of a node, and the calls of the driver.
func (w *world) sampleGPUs(node string, at float64) {
	now := w.time(at)
	for _, g := range w.gpus {
		if g.node != node || g.lost {
			continue
		}
		w.sampleGPU(g, now, at)
	}
}

func (w *world) sampleGPU(g *gpu, now uint64, at float64) {
	d := w.d
	took := max(g.took, tick)
	first := !g.sampled
	g.sampled = true
	id := g.info
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
		ev := r.pod.newEvent(now)
		p := &event.GpuProcess{Pid: r.pid, Comm: []byte("python3"), Type: "compute", MemoryBytes: &held}
		if w.source.processUtil && !w.mig && !first {
			if n := uint32(math.Round(100 * min(r.busy/took, 1) * w.noisy(0.05))); n > 0 {
				p.SmPercent = proto.Uint32(min(n, 100))
			}
		}
		r.busy = 0
		ev.Kind = &event.Event_Gpu{
			Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: id, Proc: p, PeriodMicros: period},
		}
		w.emit(ev)
	}
	a := &event.GpuActivity{}
	if !w.mig {
		util, mem := g.recent(w.source.utilWindow)
		a.GpuPercent, a.MemoryPercent = proto.Uint32(
			uint32(math.Round(100*util)),
		), proto.Uint32(
			uint32(math.Round(100*mem)),
		)
	}
	if w.model.gpm && !first {
		a.SmPercent, a.OccupancyPercent = w.measured(g.sm/took), w.measured(g.occupancy/took)
		a.TensorPercent, a.DramPercent = w.measured(g.tensor/took), w.measured(g.dram/took)
	}
	if (w.model.gpm || w.source.pcie) && !first && !w.mig {
		a.PcieReceivedPerSecond, a.PcieSentPerSecond = proto.Uint64(
			uint64(g.received/took*1.03),
		), proto.Uint64(
			uint64(g.sent/took*1.03),
		)
	}
	if w.model.gpm && !first && !w.mig {
		a.NvlinkReceivedPerSecond, a.NvlinkSentPerSecond = proto.Uint64(
			uint64(g.nvlink/took),
		), proto.Uint64(
			uint64(g.nvlink/took),
		)
	}
	users := g.users()
	ev := &event.Event{Time: now, Node: g.node}
	k := &event.Gpu{
		Type:         event.GpuEventType_GPU_EVENT_TYPE_DEVICE,
		Gpu:          id,
		Activity:     a,
		PeriodMicros: period,
		Memory:       &event.GpuMemory{TotalBytes: &total, UsedBytes: &used},
		Processes: proto.Uint32(
			uint32(len(g.ranks)),
		),
		OwnProcesses: proto.Uint32(uint32(len(g.ranks))),
		UsedBy:       strings.Join(users, ","),
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
		// The GPU that it is a part of: clocks, power and errors are the whole one's, and what runs on it is not known.
		whole := &event.Gpu{
			Type:         event.GpuEventType_GPU_EVENT_TYPE_DEVICE,
			Gpu:          g.parent,
			Activity:     &event.GpuActivity{},
			PeriodMicros: period,
			Health:       w.health(g, d, at),
		}
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
			Launches: u(
				r.launches,
			),
			GraphLaunches:       u(r.graphs),
			Copies:              u(r.copies),
			HostToDeviceBytes:   u(r.h2d),
			DeviceToHostBytes:   u(r.d2h),
			DeviceToDeviceBytes: u(0),
			OtherBytes:          u(0),
			CopyMicros:          u(r.copyMicros),
			Syncs:               u(r.syncs),
			SyncMicros:          u(r.syncMicros),
			Since:               w.scenario.Start,
		}
		if r.waiting > 0 {
			c.WaitingMicros = u(r.waiting)
		}
		if w.source.nccl && r.pod.p.several {
			c.Collectives = u(r.collectives)
		}
		ev := r.pod.newEvent(now + 2_000_000)
		ev.Kind = &event.Event_Gpu{
			Gpu: &event.Gpu{
				Type:         event.GpuEventType_GPU_EVENT_TYPE_CALLS,
				Gpu:          nil,
				Proc:         &event.GpuProcess{Pid: r.pid, Comm: []byte("python3")},
				Calls:        c,
				PeriodMicros: period,
			},
		}
		w.emit(ev)
	}
}

// recent are utilisation and memory utilisation of the driver's last sample period.
func (g *gpu) recent(of time.Duration) (util, mem float64) {
	n := min(max(int(of.Seconds()/tick), 1), len(g.ring), g.ticks)
	if n == 0 {
		return 0, 0
	}
	for i := g.ticks - n; i < g.ticks; i++ {
		s := &g.ring[i%len(g.ring)]
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
	h.PowerMilliwatts = proto.Uint32(uint32(1000 * m.watts * min(g.power*w.noisy(0.02), limit*1.02)))
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
			if slices.Contains(gr.ranks, r) && gr.phaseAt(at / window.Seconds()).mix[throttle] > 0 {
				return true
			}
		}
	}
	return false
}

// injectFault lets a device fail at its time.
func (w *world) injectFault(g *gpu, share, at float64) {
	f := &g.fault
	if f.at == 0 || share < f.at {
		return
	}
	if f.xid != 0 {
		ev := &event.Event{Time: w.time(at), Node: g.node}
		if w.d.chance(0.7) {
			ev = g.ranks[0].pod.newEvent(w.time(at))
		}
		ev.Kind = &event.Event_Gpu{Gpu: &event.Gpu{
			Type:    event.GpuEventType_GPU_EVENT_TYPE_XID,
			Gpu:     g.info,
			Xid:     proto.Uint32(f.xid),
			Message: fmt.Sprintf("XID %d", f.xid),
			UsedBy:  strings.Join(g.users(), ","),
		}}
		w.emit(ev)
		f.xid = 0
	}
	if f.lost && !g.lost {
		g.lost = true
		w.emit(
			&event.Event{
				Time: w.time(at + 0.3),
				Node: g.node,
				Kind: &event.Event_Gpu{
					Gpu: &event.Gpu{
						Type:    event.GpuEventType_GPU_EVENT_TYPE_LOST,
						Gpu:     g.info,
						Message: "the GPU has fallen off the bus",
					},
				},
			},
		)
	}
	if f.grows && at-g.eccAt > 5 {
		g.eccAt = at
		g.ecc += f.ecc
	}
}
