package why

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

// Rows of a container's series.
const (
	rowCPU = iota
	rowCPUThrottled
	rowPSICPU
	rowPSIIO
	rowPSIMemory
	rowRunQueue
	rowRead
	rowInFlight
	containerRows
)

// containerCounters are the cumulative numbers of a container.
type containerCounters struct{ runDelay, readBytes, readMicros slots.Counter }

// onResources takes a sample of a container.
func (w *Watch) onResources(ev *event.Event, r *event.Resources) {
	at := ev.GetTime()
	n := w.node(ev.GetNode(), at)
	p := w.podOf(ev)
	if n == nil || p == nil || r.GetId() == "" {
		return
	}
	n.clock.Last = max(n.clock.Last, at)
	c := w.container(p, r.GetId())
	if c == nil {
		return
	}
	from, to := slots.SamplePeriod(at, r.GetIntervalMicros())
	add := func(row int, v *uint64, scale float64) {
		if v != nil {
			n.clock.Add(&c.series, row, from, to, float64(*v)*scale)
		}
	}
	if cpu := r.GetCpu(); cpu != nil {
		add(rowCPU, cpu.Millis, 1e-3)
		add(rowCPUThrottled, cpu.ThrottledPercent, 1e-2)
		c.limit = slots.CopyOf(cpu.LimitMillis)
	}
	if psi := r.GetPressure(); psi != nil {
		add(rowPSICPU, psi.CpuSomePercent, 1e-2)
		add(rowPSIIO, psi.IoSomePercent, 1e-2)
		add(rowPSIMemory, psi.MemorySomePercent, 1e-2)
	}
	var now containerCounters
	if q := r.GetRunQueue(); q != nil {
		now.runDelay = slots.CounterOf(q.DelayMicros)
	}
	if io := r.GetIo(); io != nil {
		now.readBytes, now.readMicros = slots.CounterOf(io.ReadBytes), slots.CounterOf(io.ReadMicros)
	}
	last, since := c.counters, c.at
	if at <= since {
		return
	}
	c.counters, c.at = now, at
	if since == 0 {
		return
	}
	seconds := float64(at-since) / 1e9
	rate := func(row int, was, is slots.Counter, scale float64) {
		if grown, ok := is.Growth(was); ok {
			n.clock.Add(&c.series, row, since, at, float64(grown)*scale/seconds)
		}
	}
	rate(rowRunQueue, last.runDelay, now.runDelay, 1e-6)
	rate(rowRead, last.readBytes, now.readBytes, 1)
	rate(rowInFlight, last.readMicros, now.readMicros, 1e-6)
}
