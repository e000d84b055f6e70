//go:build linux && cgo

package nvml

import (
	"fmt"
	"math"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// activity reads what a device does: of the driver's own sample period by NVML, since the last look by GPM and
// counters.
func (r *Reader) activity(d *device, g *gaps) *event.GpuActivity {
	a := &event.GpuActivity{}
	if u := get(r.lib, g, "gpuPercent", "nvmlDeviceGetUtilizationRates", d.handle.GetUtilizationRates); u != nil {
		a.GpuPercent = believed(g, "gpuPercent", &u.Gpu, 100)
		a.MemoryPercent = believed(g, "memoryPercent", &u.Memory, 100)
	}
	r.readGPM(d, a, g)
	if d.parent == nil {
		r.readLinks(d, a, g)
	}
	return a
}

// gpm is what a device's performance monitor has counted, twice.
type gpm struct {
	state   gpmState
	samples [2]nvml.GpmSample
	newest  int
	taken   int
	why     string
}

type gpmState int

const (
	gpmUnknown gpmState = iota
	gpmWorks
	gpmNot
)

const (
	gpmField = "gpm"
	// maxRate is more bytes a second than any link of a GPU carries.
	maxRate = 1 << 45
)

// readGPM fills in what GPM gives, with the first look's second one on.
func (r *Reader) readGPM(d *device, a *event.GpuActivity, g *gaps) {
	m := &d.gpm
	if m.state == gpmUnknown {
		m.state, m.why = r.openGPM(d)
	}
	if m.state == gpmNot {
		g.say(gpmField, m.why)
		return
	}
	next := 1 - m.newest
	var ret nvml.Return
	if d.parent == nil {
		ret = r.lib.do("nvmlGpmSampleGet", func() nvml.Return { return r.lib.GpmSampleGet(d.handle, m.samples[next]) })
	} else {
		ret = r.lib.do("nvmlGpmMigSampleGet", func() nvml.Return {
			return r.lib.GpmMigSampleGet(d.parent.handle, int(d.id.GetGpuInstance()), m.samples[next])
		})
	}
	if ret != nvml.SUCCESS {
		m.taken = 0
		g.add(gpmField, ret)
		return
	}
	m.newest = next
	if m.taken++; m.taken < 2 {
		g.say(gpmField, "the first period is not over")
		return
	}
	metrics := nvml.GpmMetricsGetType{Sample1: m.samples[1-next], Sample2: m.samples[next]}
	percents := []struct {
		id   nvml.GpmMetricId
		name string
		to   **float64
	}{
		{nvml.GPM_METRIC_SM_UTIL, "smPercent", &a.SmPercent},
		{nvml.GPM_METRIC_SM_OCCUPANCY, "occupancyPercent", &a.OccupancyPercent},
		{nvml.GPM_METRIC_ANY_TENSOR_UTIL, "tensorPercent", &a.TensorPercent},
		{nvml.GPM_METRIC_DRAM_BW_UTIL, "dramPercent", &a.DramPercent},
		{nvml.GPM_METRIC_FP64_UTIL, "fp64Percent", &a.Fp64Percent},
		{nvml.GPM_METRIC_FP32_UTIL, "fp32Percent", &a.Fp32Percent},
		{nvml.GPM_METRIC_FP16_UTIL, "fp16Percent", &a.Fp16Percent},
	}
	rates := []struct {
		id   nvml.GpmMetricId
		name string
		to   **uint64
	}{
		{nvml.GPM_METRIC_PCIE_TX_PER_SEC, "pcieSent", &a.PcieSentPerSecond},
		{nvml.GPM_METRIC_PCIE_RX_PER_SEC, "pcieReceived", &a.PcieReceivedPerSecond},
		{nvml.GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC, "nvlinkSent", &a.NvlinkSentPerSecond},
		{nvml.GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC, "nvlinkReceived", &a.NvlinkReceivedPerSecond},
	}
	for i, p := range percents {
		metrics.Metrics[i].MetricId = uint32(p.id)
	}
	for i, p := range rates {
		metrics.Metrics[len(percents)+i].MetricId = uint32(p.id)
	}
	metrics.NumMetrics = uint32(len(percents) + len(rates))
	if ret := r.lib.do("nvmlGpmMetricsGet",
		func() nvml.Return { return r.lib.GpmMetricsGet(&metrics) }); ret != nvml.SUCCESS {
		g.add(gpmField, ret)
		return
	}
	value := func(i int, name string, most float64) *float64 {
		m := &metrics.Metrics[i]
		if ret := nvml.Return(m.NvmlReturn); ret != nvml.SUCCESS {
			g.add(name, ret)
			return nil
		}
		// A little over 100 comes of counters that are not read all at once.
		if v := m.Value; math.IsNaN(v) || v < 0 || v > most*1.02 {
			g.say(name, fmt.Sprintf("the driver says %g, which cannot be", v))
			return nil
		}
		v := min(m.Value, most)
		return &v
	}
	for i, p := range percents {
		*p.to = value(i, p.name, 100)
	}
	for i, p := range rates {
		// GPM's unit is MiB a second.
		if v := value(len(percents)+i, p.name, maxRate/(1<<20)); v != nil {
			n := uint64(math.Round(*v * (1 << 20)))
			*p.to = &n
		}
	}
}

// openGPM makes room for two samples, where the device has GPM.
func (r *Reader) openGPM(d *device) (gpmState, string) {
	gpu := d
	if d.parent != nil {
		if gpu = d.parent; d.id.GpuInstance == nil {
			return gpmNot, "the MIG device does not tell its GPU instance"
		}
	}
	var g gaps
	support := get(r.lib, &g, gpmField, "nvmlGpmQueryDeviceSupport", gpu.handle.GpmQueryDeviceSupport)
	if support == nil {
		return gpmNot, g.reasons[0]
	}
	if support.IsSupportedDevice == 0 {
		return gpmNot, words(nvml.ERROR_NOT_SUPPORTED)
	}
	for i := range d.gpm.samples {
		sample := get(r.lib, &g, gpmField, "nvmlGpmSampleAlloc", r.lib.GpmSampleAlloc)
		if sample == nil {
			return gpmNot, g.reasons[0]
		}
		d.gpm.samples[i] = *sample
	}
	return gpmWorks, ""
}

// close gives back what the device's samples took.
func (r *Reader) close(d *device) {
	if d.gpm.state != gpmWorks {
		return
	}
	for _, s := range d.gpm.samples {
		r.lib.do("nvmlGpmSampleFree", func() nvml.Return { return r.lib.GpmSampleFree(s) })
	}
	d.gpm.state = gpmUnknown
}
