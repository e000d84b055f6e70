//go:build linux && cgo

package nvml

import (
	"cmp"
	"math"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// processes lists the processes on a device by pid. ok is false if the driver does not report them.
func (r *Reader) processes(d *device, g *gaps) (list []*event.GpuProcess, ok bool) {
	byPID := map[uint32]*event.GpuProcess{}
	for _, way := range []struct {
		kind, name string
		f          func() ([]nvml.ProcessInfo, nvml.Return)
	}{
		{"compute", "nvmlDeviceGetComputeRunningProcesses", d.handle.GetComputeRunningProcesses},
		{"graphics", "nvmlDeviceGetGraphicsRunningProcesses", d.handle.GetGraphicsRunningProcesses},
		{"mps", "nvmlDeviceGetMPSComputeRunningProcesses", d.handle.GetMPSComputeRunningProcesses},
	} {
		found := get(r.lib, g, "processes."+way.kind, way.name, way.f)
		if found == nil {
			continue
		}
		ok = true
		for _, f := range *found {
			if f.Pid == 0 {
				continue
			}
			p := byPID[f.Pid]
			if p == nil {
				p = &event.GpuProcess{Pid: f.Pid, Type: way.kind}
				byPID[f.Pid] = p
				list = append(list, p)
			} else if p.Type != way.kind {
				p.Type += "+" + way.kind
			}
			// NVML_VALUE_NOT_AVAILABLE is -1.
			if f.UsedGpuMemory != math.MaxUint64 && f.UsedGpuMemory < 1<<50 {
				n := max(p.GetMemoryBytes(), f.UsedGpuMemory)
				p.MemoryBytes = &n
			}
		}
	}
	slices.SortFunc(list, func(a, b *event.GpuProcess) int { return cmp.Compare(a.Pid, b.Pid) })
	r.utilization(d, byPID, g)
	return list, ok
}

// utilization fills in each process's utilization of the device since the last sample: the mean of the driver's
// samples. A process without one was not measured.
func (r *Reader) utilization(d *device, byPID map[uint32]*event.GpuProcess, g *gaps) {
	if len(byPID) == 0 {
		return
	}
	const field = "proc.smPercent"
	var samples []nvml.ProcessUtilizationSample
	ret := r.lib.do("nvmlDeviceGetProcessUtilization", func() (ret nvml.Return) {
		samples, ret = d.handle.GetProcessUtilization(d.utilSeen)
		return ret
	})
	switch ret {
	case nvml.SUCCESS:
	case nvml.ERROR_NOT_FOUND: // no process was measured since
		g.addReason(field, "no sample in this period")
		return
	default:
		g.add(field, ret)
		return
	}
	type sums struct{ sm, memory, n uint64 }
	of := map[uint32]*sums{}
	newest := d.utilSeen
	for _, s := range samples {
		newest = max(newest, s.TimeStamp)
		if byPID[s.Pid] == nil {
			continue
		}
		if s.SmUtil > 100 || s.MemUtil > 100 {
			g.addReason(field, "the driver says more than 100")
			continue
		}
		t := of[s.Pid]
		if t == nil {
			t = &sums{}
			of[s.Pid] = t
		}
		t.sm, t.memory, t.n = t.sm+uint64(s.SmUtil), t.memory+uint64(s.MemUtil), t.n+1
	}
	d.utilSeen = newest
	for pid, t := range of {
		sm, memory := uint32(t.sm/t.n), uint32(t.memory/t.n)
		byPID[pid].SmPercent, byPID[pid].MemoryPercent = &sm, &memory
	}
}
