package scenario

import (
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// newEvent is an event of a pod's container.
func (b *pod) newEvent(at uint64) *event.Event {
	return &event.Event{Time: at, Node: b.node, Namespace: "ml", Pod: b.name, Container: "main", Workload: "job/train"}
}

// sampleContainers samples the containers of a node.
func (w *world) sampleContainers(node string, at float64) {
	for _, b := range w.pods {
		if b.node == node {
			w.samplePod(b, at)
		}
	}
}

func (w *world) samplePod(b *pod, at float64) {
	step := w.interval.Seconds()
	ev := b.newEvent(w.time(at))
	u := func(f float64) *uint64 { return proto.Uint64(uint64(max(math.Round(f), 0))) }
	percent := func(micros float64) *uint64 { return u(min(micros/step/1e4, 100)) }
	r := &event.Resources{Id: b.name, IntervalMicros: u(step * 1e6)}
	r.Cpu = &event.ResourcesCPU{Micros: u(b.cpuMicros), Millis: u((b.cpuMicros - b.cpuAt) / step / 1e3)}
	if b.limit > 0 {
		r.Cpu.LimitMillis, r.Cpu.Periods, r.Cpu.ThrottledPeriods, r.Cpu.ThrottledMicros = u(
			b.limit*1000,
		), u(
			b.periods,
		), u(
			b.throttledPeriods,
		), u(
			b.throttledMicros,
		)
		if n := b.periods - b.periodsAt; n > 0 {
			r.Cpu.ThrottledPercent = u(100 * (b.throttledPeriods - b.throttledAt) / n)
		}
	}
	r.RunQueue = &event.ResourcesRunQueue{Runs: u(b.runs), DelayMicros: u(b.runDelay)}
	if w.source.pressure {
		r.Pressure = &event.ResourcesPressure{
			CpuSomeMicros: u(
				b.psiCPU,
			),
			CpuSomePercent:    percent(b.psiCPU - b.psiCPUAt),
			IoSomeMicros:      u(b.psiIO),
			IoSomePercent:     percent(b.psiIO - b.psiIOAt),
			MemorySomeMicros:  u(0),
			MemorySomePercent: u(0),
		}
	}
	if w.source.block {
		r.Io = &event.ResourcesIO{
			ReadRequests:     u(b.readBytes / b.p.requestBytes),
			ReadBytes:        u(b.readBytes),
			ReadMicros:       u(b.readMicros),
			ReadDeviceMicros: u(b.readMicros * 0.8),
		}
	}
	b.cpuAt, b.periodsAt, b.throttledAt = b.cpuMicros, b.periods, b.throttledPeriods
	b.psiCPUAt, b.psiIOAt = b.psiCPU, b.psiIO
	ev.Kind = &event.Event_Resources{Resources: r}
	w.emit(ev)
	if b.sidecar {
		side := b.newEvent(w.time(at))
		side.Container = "proxy"
		side.Kind = &event.Event_Resources{
			Resources: &event.Resources{
				Id:             b.name + "-proxy",
				IntervalMicros: u(step * 1e6),
				Cpu:            &event.ResourcesCPU{Micros: u(at * 20000), Millis: u(20)},
			},
		}
		w.emit(side)
	}
}
