//go:build linux && cgo

package nvml

import (
	"fmt"
	"math"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// activity reads a device's activity: NVML's values cover the driver's own sample period, those of GPM and counters the
// time since the last sample.
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

// gpm holds two samples of a device's performance monitor.
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
	// maxRate limits the rate of a link, bytes/s. No link of a GPU is that fast.
	maxRate = 1 << 45
)

// readGPM fills in GPM's values, from the second sample on.
func (r *Reader) readGPM(d *device, a *event.GpuActivity, g *gaps) {
	m := &d.gpm
	if m.state == gpmUnknown {
		m.state, m.why = r.openGPM(d)
	}
	if m.state == gpmNot {
		g.addReason(gpmField, m.why)
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
		g.addReason(gpmField, "the first period is not over")
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
		// Values slightly over 100 are valid, because the counters are not read at the same time.
		if v := m.Value; math.IsNaN(v) || v < 0 || v > most*1.02 {
			g.addReason(name, fmt.Sprintf("the driver says %g, which cannot be", v))
			return nil
		}
		v := min(m.Value, most)
		return &v
	}
	for i, p := range percents {
		*p.to = value(i, p.name, 100)
	}
	for i, p := range rates {
		// GPM's unit is MiB/s.
		if v := value(len(percents)+i, p.name, maxRate/(1<<20)); v != nil {
			n := uint64(math.Round(*v * (1 << 20)))
			*p.to = &n
		}
	}
}

// openGPM allocates two samples if the device has GPM; else it returns the reason.
func (r *Reader) openGPM(d *device) (gpmState, string) {
	gpu := d
	if d.parent != nil {
		if gpu = d.parent; d.id.GpuInstance == nil {
			return gpmNot, "the MIG device does not report its GPU instance"
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

// close frees the device's samples.
func (r *Reader) close(d *device) {
	if d.gpm.state != gpmWorks {
		return
	}
	for _, s := range d.gpm.samples {
		_ = r.lib.do("nvmlGpmSampleFree", func() nvml.Return { return r.lib.GpmSampleFree(s) })
	}
	d.gpm.state = gpmUnknown
}
