package metrics

import (
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// gpuValue is a metric of a device with where its value is; false: unknown.
type gpuValue struct {
	metric
	get func(*event.Gpu) (uint64, bool)
}

// integer adapts an optional field.
func integer[M any, T uint32 | uint64](part func(*event.Gpu) *M, field func(*M) *T) func(*event.Gpu) (uint64, bool) {
	return func(g *event.Gpu) (uint64, bool) {
		m := part(g)
		if m == nil {
			return 0, false
		}
		v := field(m)
		if v == nil {
			return 0, false
		}
		return uint64(*v), true
	}
}

// percent adapts an optional percentage, in hundredths of a percent.
func percent(field func(*event.GpuActivity) *float64) func(*event.Gpu) (uint64, bool) {
	return func(g *event.Gpu) (uint64, bool) {
		a := g.GetActivity()
		if a == nil {
			return 0, false
		}
		v := field(a)
		if v == nil || math.IsNaN(*v) || *v < 0 {
			return 0, false
		}
		return uint64(math.Round(min(*v, 1e6) * 100)), true
	}
}

func itself(g *event.Gpu) *event.Gpu { return g }

func gpuGauge(name, help string, unit float64, get func(*event.Gpu) (uint64, bool)) gpuValue {
	return gpuValue{metric{name: name, kind: gauge, help: help, unit: unit}, get}
}

type (
	activity = event.GpuActivity
	health   = event.GpuHealth
)

// Readings of devices.
var (
	gpuPercent    = integer((*event.Gpu).GetActivity, func(a *activity) *uint32 { return a.GpuPercent })
	memoryPercent = integer((*event.Gpu).GetActivity, func(a *activity) *uint32 { return a.MemoryPercent })
	smPercent     = percent(func(a *activity) *float64 { return a.SmPercent })
	occupancy     = percent(func(a *activity) *float64 { return a.OccupancyPercent })
	tensorPercent = percent(func(a *activity) *float64 { return a.TensorPercent })
	dramPercent   = percent(func(a *activity) *float64 { return a.DramPercent })
	fp64Percent   = percent(func(a *activity) *float64 { return a.Fp64Percent })
	fp32Percent   = percent(func(a *activity) *float64 { return a.Fp32Percent })
	fp16Percent   = percent(func(a *activity) *float64 { return a.Fp16Percent })
	pcieSent      = integer((*event.Gpu).GetActivity, func(a *activity) *uint64 { return a.PcieSentPerSecond })
	pcieReceived  = integer((*event.Gpu).GetActivity, func(a *activity) *uint64 { return a.PcieReceivedPerSecond })
	nvlinkSent    = integer((*event.Gpu).GetActivity, func(a *activity) *uint64 { return a.NvlinkSentPerSecond })
	nvlinkRecv    = integer((*event.Gpu).GetActivity, func(a *activity) *uint64 { return a.NvlinkReceivedPerSecond })
	memoryTotal   = integer((*event.Gpu).GetMemory, func(m *event.GpuMemory) *uint64 { return m.TotalBytes })
	memoryUsed    = integer((*event.Gpu).GetMemory, func(m *event.GpuMemory) *uint64 { return m.UsedBytes })
	memoryKept    = integer((*event.Gpu).GetMemory, func(m *event.GpuMemory) *uint64 { return m.ReservedBytes })
	power         = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.PowerMilliwatts })
	powerLimit    = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.PowerLimitMilliwatts })
	temperature   = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.TemperatureCelsius })
	smClock       = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.SmMhz })
	memoryClock   = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.MemoryMhz })
	eccCorrected  = integer((*event.Gpu).GetHealth, func(h *health) *uint64 { return h.EccCorrected })
	eccFatal      = integer((*event.Gpu).GetHealth, func(h *health) *uint64 { return h.EccUncorrected })
	retiredPages  = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.RetiredPages })
	remappedRows  = integer((*event.Gpu).GetHealth, func(h *health) *uint32 { return h.RemappedRows })
	processes     = integer(itself, func(g *event.Gpu) *uint32 { return g.Processes })
	allocated     = integer(itself, func(g *event.Gpu) *uint32 { return g.Allocated })
)

// memoryFree is the memory that nobody has.
func memoryFree(g *event.Gpu) (uint64, bool) {
	total, ok := memoryTotal(g)
	used, known := memoryUsed(g)
	reserved, _ := memoryKept(g)
	return total - min(used+reserved, total), ok && known
}

func throttled(g *event.Gpu) (uint64, bool) {
	t := g.GetHealth().GetThrottle()
	return oneIf(t != "none"), t != ""
}

func heldIdle(g *event.Gpu) (uint64, bool) { return oneIf(g.HeldIdle()), true }

func oneIf(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

var gpuValues = []gpuValue{
	gpuGauge("orb8_gpu_utilization_ratio", "Part of the driver's last sample period in which a kernel ran.", hundredth,
		gpuPercent),
	gpuGauge("orb8_gpu_memory_utilization_ratio", "Part of that period in which device memory was read or written.",
		hundredth, memoryPercent),
	gpuGauge("orb8_gpu_sm_active_ratio", "Mean activity of the SMs (GPM).", basis, smPercent),
	gpuGauge("orb8_gpu_sm_occupancy_ratio", "Mean occupancy of the SMs (GPM).", basis, occupancy),
	gpuGauge("orb8_gpu_tensor_active_ratio", "Activity of the tensor cores (GPM).", basis, tensorPercent),
	gpuGauge("orb8_gpu_dram_active_ratio", "Used share of the memory bandwidth (GPM).", basis, dramPercent),
	gpuGauge("orb8_gpu_pcie_sent_bytes_per_second", "Bytes that the device sends by PCIe.", 0, pcieSent),
	gpuGauge("orb8_gpu_pcie_received_bytes_per_second", "Bytes that the device receives by PCIe.", 0, pcieReceived),
	gpuGauge("orb8_gpu_nvlink_sent_bytes_per_second", "Bytes that the device sends by NVLink.", 0, nvlinkSent),
	gpuGauge("orb8_gpu_nvlink_received_bytes_per_second", "Bytes that the device receives by NVLink.", 0, nvlinkRecv),
	gpuGauge("orb8_gpu_memory_total_bytes", "Memory of the device.", 0, memoryTotal),
	gpuGauge("orb8_gpu_memory_used_bytes", "Memory that processes have allocated.", 0, memoryUsed),
	gpuGauge("orb8_gpu_memory_reserved_bytes", "Memory that driver and firmware keep.", 0, memoryKept),
	gpuGauge("orb8_gpu_power_watts", "Power draw.", milli, power),
	gpuGauge("orb8_gpu_power_limit_watts", "Limit of the power draw.", milli, powerLimit),
	gpuGauge("orb8_gpu_temperature_celsius", "Temperature.", 0, temperature),
	gpuGauge("orb8_gpu_sm_clock_hertz", "Clock of the SMs.", mega, smClock),
	gpuGauge("orb8_gpu_memory_clock_hertz", "Clock of the memory.", mega, memoryClock),
	gpuGauge("orb8_gpu_throttled", "Whether something keeps the clocks down.", 0, throttled),
	{metric{name: "orb8_gpu_ecc_corrected_errors_total", help: "Corrected ECC errors since the driver was loaded."},
		eccCorrected},
	{metric{name: "orb8_gpu_ecc_uncorrected_errors_total", help: "Uncorrected ECC errors since the driver was loaded."},
		eccFatal},
	gpuGauge("orb8_gpu_retired_pages", "Pages that are no longer used because of errors.", 0, retiredPages),
	gpuGauge("orb8_gpu_remapped_rows", "Rows that were remapped because of errors.", 0, remappedRows),
	gpuGauge("orb8_gpu_processes", "Processes on the device.", 0, processes),
	gpuGauge("orb8_gpu_allocated_containers", "Containers that the kubelet has given the device to.", 0, allocated),
	gpuGauge("orb8_gpu_held_idle",
		"Whether a container is on the device, or was given it, and no kernel runs on it.", 0, heldIdle),
}

// dcgmValues have the names of dcgm-exporter.
var dcgmValues = []gpuValue{
	gpuGauge("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz).", 0, smClock),
	gpuGauge("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz).", 0, memoryClock),
	gpuGauge("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", 0, temperature),
	gpuGauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", milli, power),
	gpuGauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", 0, gpuPercent),
	gpuGauge("DCGM_FI_DEV_MEM_COPY_UTIL", "Memory utilization (in %).", 0, memoryPercent),
	gpuGauge("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).", mebi, memoryFree),
	gpuGauge("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", mebi, memoryUsed),
	gpuGauge("DCGM_FI_DEV_FB_RESERVED", "Framebuffer memory reserved (in MiB).", mebi, memoryKept),
	gpuGauge("DCGM_FI_DEV_FB_TOTAL", "Framebuffer memory total (in MiB).", mebi, memoryTotal),
	gpuGauge("DCGM_FI_PROF_SM_ACTIVE", "The ratio of cycles an SM has at least 1 warp assigned.", basis, smPercent),
	gpuGauge("DCGM_FI_PROF_SM_OCCUPANCY", "The ratio of number of warps resident on an SM.", basis, occupancy),
	gpuGauge("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active (here: the driver's "+
		"utilization).", hundredth, gpuPercent),
	gpuGauge("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "Ratio of cycles the tensor (HMMA) pipe is active.", basis,
		tensorPercent),
	gpuGauge("DCGM_FI_PROF_DRAM_ACTIVE", "Ratio of cycles the device memory interface is active sending or receiving "+
		"data.", basis, dramPercent),
	gpuGauge("DCGM_FI_PROF_PIPE_FP64_ACTIVE", "Ratio of cycles the fp64 pipes are active.", basis, fp64Percent),
	gpuGauge("DCGM_FI_PROF_PIPE_FP32_ACTIVE", "Ratio of cycles the fp32 pipes are active.", basis, fp32Percent),
	gpuGauge("DCGM_FI_PROF_PIPE_FP16_ACTIVE", "Ratio of cycles the fp16 pipes are active.", basis, fp16Percent),
	gpuGauge("DCGM_FI_PROF_PCIE_TX_BYTES", "Bytes a second sent by PCIe.", 0, pcieSent),
	gpuGauge("DCGM_FI_PROF_PCIE_RX_BYTES", "Bytes a second received by PCIe.", 0, pcieReceived),
	gpuGauge("DCGM_FI_PROF_NVLINK_TX_BYTES", "Bytes a second sent by NVLink.", 0, nvlinkSent),
	gpuGauge("DCGM_FI_PROF_NVLINK_RX_BYTES", "Bytes a second received by NVLink.", 0, nvlinkRecv),
	{metric{name: "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
		help: "Total number of single-bit volatile ECC errors."}, eccCorrected},
	{metric{name: "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", help: "Total number of double-bit volatile ECC errors."}, eccFatal},
	gpuGauge("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered.", 0,
		integer(itself, func(g *event.Gpu) *uint32 { return g.Xid })),
}

func metricsOf(values []gpuValue) (all []metric) {
	for _, v := range values {
		all = append(all, v.metric)
	}
	return all
}

var (
	gpuFamily = family{
		name: "gpu", labels: []string{"uuid", "gpu", "model"},
		doc: "GPUs and MIG devices, from NVML. `gpu` is the index, `0.1` for the MIG device 1 of GPU 0. Only what " +
			"the " +
			"driver and the device support is there.",
		metrics: metricsOf(gpuValues),
	}
	gpuAllocatedFamily = family{
		name: "gpu_allocated", labels: []string{"uuid", "gpu", "namespace", "workload", "pod", "container"},
		doc: "Which containers have which devices. Multiply by it to get the labels of a pod: " +
			"`orb8_gpu_power_watts * on (uuid) group_right orb8_gpu_allocation_info`.",
		metrics: []metric{{name: "orb8_gpu_allocation_info", kind: gauge,
			help: "1 for each container that the kubelet has given the device to."}},
	}
	gpuXIDFamily = family{
		name: "gpu_xid", labels: []string{"uuid", "gpu", "xid"},
		doc:     "Errors that the driver reports.",
		metrics: []metric{{name: "orb8_gpu_xid_errors_total", help: "XID errors of the device."}},
	}
	gpuProcessFamily = family{
		name: "gpu_process", workloads: true, labels: workloadLabels("uuid", "gpu"),
		doc: "Processes of workloads on devices.",
		metrics: []metric{
			{name: "orb8_gpu_workload_memory_bytes", kind: gauge, help: "Device memory of the workload's processes."},
			{name: "orb8_gpu_workload_sm_ratio", kind: gauge, unit: hundredth,
				help: "Share of the SMs that the workload's processes used."},
			{name: "orb8_gpu_workload_processes", kind: gauge, help: "Processes of the workload on the device."},
		},
	}
	gpuCallsFamily = family{
		name: "gpu_calls", workloads: true, labels: workloadLabels(),
		doc: "What processes ask of CUDA: uprobes at the driver's library. Times are of the host.",
		metrics: []metric{
			{name: "orb8_cuda_launches_total", help: "Launches of kernels."},
			{name: "orb8_cuda_graph_launches_total", help: "Launches of graphs."},
			{name: "orb8_cuda_copies_total", help: "Copies."},
			{name: "orb8_cuda_host_to_device_bytes_total", help: "Bytes copied from host to device."},
			{name: "orb8_cuda_device_to_host_bytes_total", help: "Bytes copied from device to host."},
			{name: "orb8_cuda_device_to_device_bytes_total", help: "Bytes copied between devices, or within one."},
			{name: "orb8_cuda_copy_seconds_total", unit: micro, help: "Host time in copies, over all threads."},
			{name: "orb8_cuda_syncs_total", help: "Synchronisations."},
			{name: "orb8_cuda_sync_seconds_total", unit: micro,
				help: "Host time in synchronisation, over all threads."},
			{name: "orb8_cuda_allocations_total", help: "Allocations of device memory."},
			{name: "orb8_cuda_failures_total", help: "Calls that returned an error."},
			{name: "orb8_nccl_collectives_total", help: "Operations of NCCL."},
		},
	}
	dcgmFamily = family{
		name: "dcgm", compat: true,
		labels: []string{"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION",
			"GPU_I_ID", "container", "namespace", "pod"},
		doc: "The same with the names and labels of dcgm-exporter, only with `metrics.dcgmCompat`, so that its " +
			"dashboards " +
			"work. The pod is the first that the kubelet has given the device to.",
		metrics: metricsOf(dcgmValues),
	}
)

// onGPU takes an event of a GPU.
func (t *Table) onGPU(encoded []byte) bool {
	proto.Reset(&t.decoded)
	if proto.Unmarshal(encoded, &t.decoded) != nil {
		return false
	}
	ev := &t.decoded
	g := ev.GetGpu()
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
		t.onDevice(ev, g)
	case event.GpuEventType_GPU_EVENT_TYPE_XID:
		d := g.GetGpu()
		if r := t.row(famGPUXID, nil, text(d.GetUuid()), gpuIndex(d), number(uint64(g.GetXid()))); r != nil {
			r.add(0, 1)
		}
		t.lastXID[d.GetUuid()] = g.GetXid()
		for len(t.lastXID) > maxXIDs {
			clear(t.lastXID)
		}
	case event.GpuEventType_GPU_EVENT_TYPE_PROCESS:
		t.onGPUProcess(g)
	case event.GpuEventType_GPU_EVENT_TYPE_CALLS:
		t.onCalls(g)
	}
	return true
}

// maxXIDs bounds the devices whose last error is kept: more than a node has.
const maxXIDs = 1024

func text(s string) []byte { return []byte(s) }

func number(n uint64) []byte { return strconv.AppendUint(nil, n, 10) }

// gpuIndex is the label gpu.
func gpuIndex(d *event.GpuDevice) []byte {
	if d.GetIndex() == 0 && (d == nil || d.Index == nil) {
		return nil
	}
	if d.ParentIndex != nil {
		return strconv.AppendUint(append(number(uint64(d.GetParentIndex())), '.'), uint64(d.GetIndex()), 10)
	}
	return number(uint64(d.GetIndex()))
}

func (t *Table) onDevice(ev *event.Event, g *event.Gpu) {
	d := g.GetGpu()
	if r := t.row(famGPU, nil, text(d.GetUuid()), gpuIndex(d), text(d.GetName())); r != nil {
		r.setAll(gpuValues, g)
	}
	var first [3][]byte
	for _, to := range strings.Split(g.GetAllocatedTo(), ",") {
		namespace, rest, _ := strings.Cut(to, "/")
		pod, container, ok := strings.Cut(rest, "/")
		if !ok {
			continue
		}
		if first[0] == nil {
			first = [3][]byte{text(container), text(namespace), text(pod)}
		}
		workload := t.pods.workload(namespace, pod)
		r := t.row(famGPUAllocated, nil, text(d.GetUuid()), gpuIndex(d), text(namespace), text(workload), text(pod),
			text(container))
		if r != nil {
			r.set(0, 1)
		}
	}
	if !t.o.DCGMCompat {
		return
	}
	if xid, ok := t.lastXID[d.GetUuid()]; ok {
		g.Xid = &xid
	} else if g.Xid == nil {
		g.Xid = new(uint32)
	}
	device, instance := []byte(nil), []byte(nil)
	if d.GetMinor() != 0 || d != nil && d.Minor != nil {
		device = append([]byte("nvidia"), number(uint64(d.GetMinor()))...)
	}
	index := number(uint64(d.GetIndex()))
	if d != nil && d.ParentIndex != nil {
		index, instance = number(uint64(d.GetParentIndex())), number(uint64(d.GetGpuInstance()))
	}
	r := t.row(famDCGM, nil, index, text(d.GetUuid()), text(d.GetPciAddress()), device, text(d.GetName()),
		text(ev.GetNode()), text(d.GetDriver()), instance, first[0], first[1], first[2])
	if r != nil {
		r.setAll(dcgmValues, g)
	}
}

// setAll sets what is known of a device.
func (r *row) setAll(values []gpuValue, g *event.Gpu) {
	for i, v := range values {
		if n, ok := v.get(g); ok {
			r.set(i, n)
		} else {
			r.known &^= 1 << i
		}
	}
}

func (t *Table) onGPUProcess(g *event.Gpu) {
	d, p := g.GetGpu(), g.GetProc()
	r := t.row(famGPUProcess, &t.subject, text(d.GetUuid()), gpuIndex(d))
	t.id = append(append(t.id[:0], byte(famGPUProcess)), d.GetUuid()...)
	t.id = strconv.AppendUint(append(t.id, ' '), uint64(p.GetPid()), 10)
	s := t.track(t.id, r, 3)
	if s == nil {
		return
	}
	s.gauge(0, p.GetMemoryBytes(), p.MemoryBytes != nil)
	s.gauge(1, uint64(p.GetSmPercent()), p.SmPercent != nil)
	s.gauge(2, 1, true)
}

func (t *Table) onCalls(g *event.Gpu) {
	c := g.GetCalls()
	r := t.row(famGPUCalls, &t.subject)
	t.id = append(append(t.id[:0], byte(famGPUCalls)), t.subject.uid...)
	t.id = strconv.AppendUint(append(t.id, ' '), uint64(g.GetProc().GetPid()), 10)
	t.id = strconv.AppendUint(append(t.id, ' '), c.GetSince(), 10)
	values := [...]*uint64{c.Launches, c.GraphLaunches, c.Copies, c.HostToDeviceBytes, c.DeviceToHostBytes,
		c.DeviceToDeviceBytes, c.CopyMicros, c.Syncs, c.SyncMicros, c.Allocations, c.Failures, c.Collectives}
	s := t.track(t.id, r, len(values))
	if s == nil {
		return
	}
	for i, v := range values {
		if v != nil {
			s.grow(i, *v)
		}
	}
}

// rcodes are the answers' codes that have a label of their own.
var rcodes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}

// rcode returns the label of a code.
func rcode(code []byte) []byte {
	if len(code) == 0 {
		return nil
	}
	for _, known := range rcodes {
		if string(code) == known {
			return code
		}
	}
	return other
}
