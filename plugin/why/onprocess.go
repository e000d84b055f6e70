package why

import (
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

// Rows of a process's series. The first ones are rates of the counters of calls.
const (
	rowLaunches = iota
	rowGraphs
	rowHostToDevice
	rowDeviceToHost
	rowOtherBytes
	rowCopy
	rowSync
	rowSyncs
	rowCollectives
	callRows
	rowOwnSM = callRows
)

const processRows = rowOwnSM + 1

// callCounters are the counters of calls, by row.
type callCounters [callRows]slots.Counter

func readCalls(c *event.GpuCalls) callCounters {
	return callCounters{
		rowLaunches: slots.CounterOf(c.Launches), rowGraphs: slots.CounterOf(c.GraphLaunches),
		rowHostToDevice: slots.CounterOf(c.HostToDeviceBytes), rowDeviceToHost: slots.CounterOf(c.DeviceToHostBytes),
		rowOtherBytes: slots.CounterOf(c.OtherBytes),
		rowCopy:       slots.CounterOf(c.CopyMicros), rowSync: slots.CounterOf(c.SyncMicros),
		rowSyncs: slots.CounterOf(c.Syncs), rowCollectives: slots.CounterOf(c.Collectives),
	}
}

// onProcessSample takes a sample of a process on a device.
func (w *Watch) onProcessSample(n *node, ev *event.Event, g *event.Gpu) {
	p := w.podOf(ev)
	d := w.device(n, ev, g)
	r := w.process(p, ev.GetNode(), g.GetProc().GetPid())
	if d == nil || r == nil {
		return
	}
	p.addDevice(d)
	d.addUsers(p.namespace + "/" + p.name + "/")
	if !slices.Contains(r.devices, d) && len(r.devices) < maxNames {
		r.devices = append(r.devices, d)
	}
	if g.GetProc().MemoryBytes != nil && len(r.held) <= maxNames {
		r.held[d.uuid] = g.GetProc().GetMemoryBytes()
	}
	if g.GetProc().SmPercent != nil {
		from, to := slots.SamplePeriod(ev.GetTime(), g.GetPeriodMicros())
		n.clock.Add(&r.series, rowOwnSM, from, to, min(float64(g.GetProc().GetSmPercent())/100, 1))
	}
}

// onCalls takes the counters of a process's calls of the driver.
func (w *Watch) onCalls(n *node, ev *event.Event, g *event.Gpu) {
	r := w.process(w.podOf(ev), ev.GetNode(), g.GetProc().GetPid())
	c := g.GetCalls()
	if r == nil || c == nil {
		return
	}
	counted := r.counted
	r.counted = true
	r.waiting = max(r.waiting, c.GetWaitingMicros())
	at, from, last, since := ev.GetTime(), r.at, r.calls, r.since
	if counted && at <= from {
		return
	}
	r.calls, r.since, r.at = readCalls(c), c.GetSince(), at
	if !counted || since != r.since {
		return
	}
	seconds := float64(at-from) / 1e9
	for row := range r.calls {
		grown, ok := r.calls[row].Growth(last[row])
		if !ok {
			continue
		}
		r.active = r.active || grown > 0
		scale := 1.0
		if row == rowCopy || row == rowSync {
			scale = 1e-6 // µs of each second, as a share
		}
		n.clock.Add(&r.series, row, from, at, float64(grown)*scale/seconds)
	}
}

// onXID takes an error that the driver reported.
func (w *Watch) onXID(n *node, ev *event.Event, g *event.Gpu) {
	d := w.device(n, ev, g)
	if d == nil || len(d.xids) == maxNames {
		return
	}
	d.xids = append(d.xids, g.GetXid())
	d.addUsers(g.GetUsedBy())
	if ev.GetPod() != "" {
		d.addUsers(ev.GetNamespace() + "/" + ev.GetPod() + "/")
	}
}
