//go:build linux && cgo

package nvml

import (
	"math"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// notAMIG is the instance id of processes outside MIG devices.
const notAMIG = math.MaxUint32

// device is the state of a GPU or MIG device between samples.
type device struct {
	handle nvml.Device
	id     *event.GpuDevice
	// MIG: the device's GPU.
	parent *device

	gpm   gpm
	links [len(links)]counters
	// utilSeen is the time of the newest sample of process utilization seen, µs of the driver's clock.
	utilSeen uint64
	// rare holds the values that not every sample reads, from rareAt.
	rare   event.GpuHealth
	rareAt time.Time
	// rareGaps are the gaps of rare.
	rareGaps gaps
	lost     bool
}

// rareInterval is the time between two reads of values that rarely change.
const rareInterval = 10 * time.Second

// identify reads a device's constant properties.
func (r *Reader) identify(handle nvml.Device, index int, parent *device) (*device, nvml.Return) {
	var g gaps
	d := &device{handle: handle, parent: parent, id: &event.GpuDevice{Driver: r.driver}}
	n := uint32(index)
	d.id.Index = &n
	uuid := get(r.lib, &g, "uuid", "nvmlDeviceGetUUID", handle.GetUUID)
	if uuid == nil {
		return nil, g.lost
	}
	d.id.Uuid = valid(*uuid)
	if name := get(r.lib, &g, "name", "nvmlDeviceGetName", handle.GetName); name != nil {
		d.id.Name = valid(*name)
	}
	if parent == nil {
		if pci := get(r.lib, &g, "pci", "nvmlDeviceGetPciInfo", handle.GetPciInfo); pci != nil {
			d.id.PciAddress = strings.ToLower(text(pci.BusId[:]))
		}
		d.id.Minor = instance(get(r.lib, &g, "minor", "nvmlDeviceGetMinorNumber", handle.GetMinorNumber))
		return d, nvml.SUCCESS
	}
	d.id.PciAddress, d.id.Parent, d.id.ParentIndex, d.id.Minor = parent.id.PciAddress, parent.id.Uuid, parent.id.Index,
		parent.id.Minor
	d.id.GpuInstance = instance(get(r.lib, &g, "gpuInstance", "nvmlDeviceGetGpuInstanceId", handle.GetGpuInstanceId))
	d.id.ComputeInstance = instance(get(r.lib, &g, "computeInstance", "nvmlDeviceGetComputeInstanceId",
		handle.GetComputeInstanceId))
	return d, nvml.SUCCESS
}

// placement returns the first memory slice of a MIG device in its GPU; nil if the driver does not report it, which may
// require root.
func (r *Reader) placement(d *device) *uint32 {
	if d.id.GpuInstance == nil {
		return nil
	}
	var g gaps
	gi := get(r.lib, &g, "placementStart", "nvmlDeviceGetGpuInstanceById", func() (nvml.GpuInstance, nvml.Return) {
		return d.parent.handle.GetGpuInstanceById(int(d.id.GetGpuInstance()))
	})
	if gi == nil {
		return nil
	}
	info := get(r.lib, &g, "placementStart", "nvmlGpuInstanceGetInfo", (*gi).GetInfo)
	if info == nil {
		return nil
	}
	start := info.Placement.Start
	return &start
}

func instance(n *int) *uint32 {
	if n == nil || *n < 0 || *n >= notAMIG {
		return nil
	}
	id := uint32(*n)
	return &id
}

// text converts a C string in a field of fixed size.
func text(b []int8) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return valid(s.String())
}

// valid returns s with invalid UTF-8 replaced, as protobuf requires.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// memory reads a device's memory: by nvmlDeviceGetMemoryInfo_v2, which reports the driver's own share, or by the first
// version.
func (r *Reader) memory(d *device, g *gaps) *event.GpuMemory {
	var ignored gaps
	m := &event.GpuMemory{}
	if v := get(r.lib, &ignored, "memory", "nvmlDeviceGetMemoryInfo_v2", d.handle.GetMemoryInfo_v2); v != nil {
		m.TotalBytes, m.UsedBytes, m.ReservedBytes = &v.Total, &v.Used, &v.Reserved
	} else if v := get(r.lib, g, "memory", "nvmlDeviceGetMemoryInfo", d.handle.GetMemoryInfo); v != nil {
		m.TotalBytes, m.UsedBytes = &v.Total, &v.Used
		g.addReason("memory.reservedBytes", words(nvml.ERROR_FUNCTION_NOT_FOUND))
	} else {
		return nil
	}
	const most = 1 << 50 // bytes
	if m.TotalBytes = believed(g, "memory.totalBytes", m.TotalBytes, most); m.TotalBytes == nil {
		g.addReason("memory", "the driver reports an impossible size")
		return nil
	}
	m.UsedBytes = believed(g, "memory.usedBytes", m.UsedBytes, *m.TotalBytes)
	m.ReservedBytes = believed(g, "memory.reservedBytes", m.ReservedBytes, *m.TotalBytes)
	return m
}

// health reads power, temperature, clocks and errors.
func (r *Reader) health(d *device, g *gaps) *event.GpuHealth {
	if d.parent != nil {
		g.addReason("health", "of the whole GPU, see there")
		return nil
	}
	h := &event.GpuHealth{}
	h.PowerMilliwatts = believed(g, "power", get(r.lib, g, "power", "nvmlDeviceGetPowerUsage", d.handle.GetPowerUsage),
		10_000_000)
	h.PowerLimitMilliwatts = believed(g, "powerLimit", get(r.lib, g, "powerLimit", "nvmlDeviceGetEnforcedPowerLimit",
		d.handle.GetEnforcedPowerLimit), 10_000_000)
	h.TemperatureCelsius = believed(g, "temperature", get(r.lib, g, "temperature", "nvmlDeviceGetTemperature",
		func() (uint32, nvml.Return) {
			return d.handle.GetTemperature(nvml.TEMPERATURE_GPU)
		}), 250)
	h.SmMhz = believed(g, "smMhz", get(r.lib, g, "smMhz", "nvmlDeviceGetClockInfo",
		func() (uint32, nvml.Return) { return d.handle.GetClockInfo(nvml.CLOCK_SM) }), 100_000)
	h.MemoryMhz = believed(g, "memoryMhz", get(r.lib, g, "memoryMhz", "nvmlDeviceGetClockInfo",
		func() (uint32, nvml.Return) { return d.handle.GetClockInfo(nvml.CLOCK_MEM) }), 100_000)
	if r.lib.supports("nvmlDeviceGetCurrentClocksEventReasons") {
		if mask := get(r.lib, g, "throttle", "nvmlDeviceGetCurrentClocksEventReasons",
			d.handle.GetCurrentClocksEventReasons); mask != nil {
			h.Throttle = throttleWords(*mask)
		}
	} else if mask := get(r.lib, g, "throttle", "nvmlDeviceGetCurrentClocksThrottleReasons",
		d.handle.GetCurrentClocksThrottleReasons); mask != nil {
		h.Throttle = throttleWords(*mask)
	}
	if now := time.Now(); d.rareAt.IsZero() || now.Sub(d.rareAt) >= rareInterval {
		d.rareAt, d.rareGaps = now, gaps{}
		d.rare.MaxSmMhz = believed(&d.rareGaps, "maxSmMhz",
			get(r.lib, &d.rareGaps, "maxSmMhz", "nvmlDeviceGetMaxClockInfo",
				func() (uint32, nvml.Return) { return d.handle.GetMaxClockInfo(nvml.CLOCK_SM) }), 100_000)
		r.errors(d, &d.rare, &d.rareGaps)
	}
	h.MaxSmMhz = d.rare.MaxSmMhz
	h.EccCorrected, h.EccUncorrected, h.RetiredPages, h.RemappedRows = d.rare.EccCorrected, d.rare.EccUncorrected,
		d.rare.RetiredPages, d.rare.RemappedRows
	for _, reason := range d.rareGaps.reasons {
		for _, field := range d.rareGaps.fields[reason] {
			g.addReason(field, reason)
		}
	}
	return h
}

// errors reads the memory's errors.
func (r *Reader) errors(d *device, h *event.GpuHealth, g *gaps) {
	ecc := func(field string, kind nvml.MemoryErrorType) *uint64 {
		n := get(r.lib, g, field, "nvmlDeviceGetTotalEccErrors",
			func() (uint64, nvml.Return) { return d.handle.GetTotalEccErrors(kind, nvml.VOLATILE_ECC) })
		return believed(g, field, n, math.MaxUint64-1)
	}
	h.EccCorrected = ecc("eccCorrected", nvml.MEMORY_ERROR_TYPE_CORRECTED)
	h.EccUncorrected = ecc("eccUncorrected", nvml.MEMORY_ERROR_TYPE_UNCORRECTED)
	h.RetiredPages, h.RemappedRows = nil, nil
	correctable := get(r.lib, g, "retiredPages", "nvmlDeviceGetRetiredPages", func() ([]uint64, nvml.Return) {
		return d.handle.GetRetiredPages(nvml.PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS)
	})
	uncorrectable := get(r.lib, g, "retiredPages", "nvmlDeviceGetRetiredPages", func() ([]uint64, nvml.Return) {
		return d.handle.GetRetiredPages(nvml.PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR)
	})
	if correctable != nil && uncorrectable != nil {
		n := uint32(len(*correctable) + len(*uncorrectable))
		h.RetiredPages = &n
	}
	h.RemappedRows = get(r.lib, g, "remappedRows", "nvmlDeviceGetRemappedRows", func() (uint32, nvml.Return) {
		corrected, uncorrected, _, _, ret := d.handle.GetRemappedRows()
		return uint32(max(corrected, 0) + max(uncorrected, 0)), ret
	})
}
