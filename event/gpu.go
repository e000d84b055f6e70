package event

import (
	"strconv"
	"strings"
)

func isGpu(ev *Event) bool { _, ok := ev.GetKind().(*Event_Gpu); return ok }

// gpuEventTypes are the words of GpuEventType by number; the first, unknown, is null.
var gpuEventTypes = []string{"", "device", "process", "started", "ended", "xid", "throttle", "lost", "unavailable",
	"calls",
	"failed"}

// gpuUses are the words of GpuUse by number; the first, unknown, is null.
var gpuUses = []string{"", "free", "busy", "idle", "unused", "bypass"}

// Word is the use as JSON and tables show it; empty when unknown.
func (u GpuUse) Word() string { return word(gpuUses, int32(u)) }

// Word is the type as JSON and tables show it; empty when unknown.
func (w GpuEventType) Word() string { return word(gpuEventTypes, int32(w)) }

// GpuWarning is the prefix of a node's status about its GPUs.
const GpuWarning = "gpu: "

// HeldIdle reports whether a traced container has a process on the device, or is allocated it, and no kernel runs on
// it. A device whose activity is not known is idle only where no process is on it.
func (g *Gpu) HeldIdle() bool {
	ran, known := g.Ran()
	switch {
	case known && ran:
		return false
	case known && g.GetOwnProcesses() > 0:
		return true
	case g.GetAllocatedTo() == "":
		return false
	}
	return known || g.Processes != nil && g.GetProcesses() == 0
}

// Ran reports whether a kernel ran on the device in the last period, where that is known.
func (g *Gpu) Ran() (ran, known bool) {
	switch a := g.GetActivity(); {
	case a == nil:
		return false, false
	case a.GpuPercent != nil:
		return a.GetGpuPercent() > 0, true
	case a.SmPercent != nil:
		return a.GetSmPercent() > 0, true
	}
	return false, false
}

// AppendGpuName appends "node/0" of a device, "node/0.1" of a MIG device, "node/?" where the index is not known.
func AppendGpuName(dst []byte, node string, d *GpuDevice) []byte {
	dst = append(append(dst, node...), '/')
	if d != nil && d.ParentIndex != nil {
		dst = append(strconv.AppendUint(dst, uint64(d.GetParentIndex()), 10), '.')
	}
	if d == nil || d.Index == nil {
		return append(dst, '?')
	}
	return strconv.AppendUint(dst, uint64(d.GetIndex()), 10)
}

func gpuItself(g *Gpu) *Gpu { return g }

// gpuNumber is a column of a whole number in one part of the event, either of which may be unknown.
func gpuNumber[Part any, N uint32 | uint64](
	part func(*Gpu) *Part, name, header string, t Type, outputs Outputs, doc string, get func(*Part) *N,
) Column {
	return Column{Name: name, Header: header, Type: t, Outputs: outputs, Doc: doc, Get: func(ev *Event) Value {
		if p := part(ev.GetGpu()); p != nil {
			return Optional(get(p))
		}
		return Value{}
	}}
}

// gpuText is a column of text in one part of the event.
func gpuText[Part any](
	part func(*Gpu) *Part, name, header string, width int, outputs Outputs, doc string, get func(*Part) string,
) Column {
	return Column{Name: name, Header: header, Type: Text, Width: width, Outputs: outputs, Doc: doc,
		Get: func(ev *Event) Value {
			if p := part(ev.GetGpu()); p != nil {
				return String(get(p))
			}
			return Value{}
		}}
}

// gpuShare is a column of a percentage that GPM gives.
func gpuShare(name, header string, outputs Outputs, doc string, get func(*GpuActivity) *float64) Column {
	return Column{
		Name: "activity." + name, Header: header, Type: Rate, Width: 5, Outputs: outputs,
		Doc: "Percent of the period " + doc + " (GPM: Hopper and newer, and not in a MIG device without its GPU's " +
			"consent). Of what the hardware has, and not a part of gpuPercent.",
		Get: func(ev *Event) Value {
			a := ev.GetGpu().GetActivity()
			if a == nil {
				return Value{}
			}
			if p := get(a); p != nil {
				return Float(*p)
			}
			return Value{}
		},
	}
}

// gpuCell is a table's cell, whose parts stand in JSON by other columns.
func gpuCell(name, header, doc string, width int, show func(dst []byte, g *Gpu, v *View) []byte) Column {
	return Column{Name: name, Header: header, Doc: doc, Width: width, Outputs: InTable | InWide,
		Show: func(dst []byte, ev *Event, v *View) []byte {
			if g := ev.GetGpu(); g != nil {
				return show(dst, g, v)
			}
			return dst
		}}
}

// Nobody stands in tables where it is known that there is none.
const Nobody = "-"

// appendUsers appends a list of "namespace/pod/container", without the namespace of the view.
func appendUsers(dst []byte, list string, v *View) []byte {
	for i, name := range strings.Split(list, ",") {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, inView(name, v)...)
	}
	return dst
}

// appendWatts appends thousandths of a watt as whole watts.
func appendWatts(dst []byte, milliwatts uint64) []byte {
	return append(strconv.AppendUint(dst, (milliwatts+500)/1000, 10), 'W')
}

func wide[N uint32 | uint64](n *N) *uint64 {
	if n == nil {
		return nil
	}
	w := uint64(*n)
	return &w
}

// gpuColumns are what gpu adds, in the order of the JSON object.
var gpuColumns = concat(
	[]Column{
		{
			Name: "type", Header: "TYPE", Type: Enum, Enum: gpuEventTypes[1:], Width: 8,
			Outputs: InTable | InWide | InJSON,
			Doc: "device: a GPU or MIG device as it is now; process: a process on it; started, ended: a process came " +
				"or left; xid: the driver reported an error; " +
				"throttle: what slows the device down has changed; lost: the device does not answer any more; " +
				"unavailable: the node's GPUs cannot be read, or there are none; " +
				"calls: what a process has asked of the driver's library so far; failed: such a call returned " +
				"an error.",
			Get: func(ev *Event) Value { return String(ev.GetGpu().GetType().Word()) },
		},
		{
			Name: "on", Header: "GPU", Doc: "Node and index of the GPU; of a MIG device index.number.", Width: 12,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				if d := ev.GetGpu().GetGpu(); d != nil {
					return AppendGpuName(dst, ev.GetNode(), d)
				}
				return append(dst, ev.GetNode()...)
			},
		},
		{
			Name: "who", Header: "POD",
			Doc: "Pod of the process; of a device, the traced pods with a process on it, else those it is " +
				"allocated to.", Width: 20, Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, v *View) []byte {
				switch g := ev.GetGpu(); {
				case ev.GetPod() != "":
					return appendName(dst, ev.GetNamespace(), ev.GetPod(), v)
				case g.GetUsedBy() != "":
					return appendUsers(dst, g.GetUsedBy(), v)
				case g.GetAllocatedTo() != "":
					return appendUsers(dst, g.GetAllocatedTo(), v)
				case g.OwnProcesses != nil && g.GetOwnProcesses() == 0:
					return append(dst, Nobody...)
				}
				return dst
			},
		},
		gpuCell("process", "PROCESS",
			"Command of the process, and process id; of a device, how many of the traced pods' processes of all.", 16,
			func(dst []byte, g *Gpu, _ *View) []byte {
				p := g.GetProc()
				switch {
				case p.GetPid() != 0:
					dst = append(append(dst, p.GetComm()...), '(')
					return append(strconv.AppendUint(dst, uint64(p.GetPid()), 10), ')')
				case g.Processes != nil && g.OwnProcesses != nil:
					dst = strconv.AppendUint(dst, uint64(g.GetOwnProcesses()), 10)
					return strconv.AppendUint(append(dst, " of "...), uint64(g.GetProcesses()), 10)
				}
				return dst
			}),
		gpuCell("busy", "UTIL", "Of a device, percent of the time in which any kernel ran; of a process, its own.", 5,
			func(dst []byte, g *Gpu, _ *View) []byte {
				var percent *uint32
				if a := g.GetActivity(); a != nil {
					percent = a.GpuPercent
				}
				if g.GetProc() != nil {
					percent = g.GetProc().SmPercent
				}
				if percent == nil {
					return dst
				}
				return append(strconv.AppendUint(dst, uint64(*percent), 10), '%')
			}),
	},
	[]Column{
		gpuText((*Gpu).GetGpu, "gpu.uuid", "UUID", 20, InWide|InJSON, "UUID of the GPU or MIG device.",
			(*GpuDevice).GetUuid),
		gpuNumber((*Gpu).GetGpu, "gpu.index", "INDEX", Number, InJSON,
			"Number of the GPU as nvidia-smi counts; of a MIG device, its number in its GPU.",
			func(d *GpuDevice) *uint32 { return d.Index }),
		gpuText((*Gpu).GetGpu, "gpu.name", "NAME", 20, InWide|InJSON, "Product name; of a MIG device with its profile.",
			(*GpuDevice).GetName),
		gpuText((*Gpu).GetGpu, "gpu.pciAddress", "PCI", 16, InJSON, "PCI address, domain:bus:device.function.",
			(*GpuDevice).GetPciAddress),
		gpuText((*Gpu).GetGpu, "gpu.driver", "DRIVER", 10, InJSON, "Version of the driver.", (*GpuDevice).GetDriver),
		gpuText((*Gpu).GetGpu, "gpu.parent", "PARENT", 20, InJSON,
			"UUID of the GPU that a MIG device is a part of; null of a whole GPU.", (*GpuDevice).GetParent),
		gpuNumber((*Gpu).GetGpu, "gpu.parentIndex", "PARENT-INDEX", Number, InJSON, "Index of that GPU.",
			func(d *GpuDevice) *uint32 { return d.ParentIndex }),
		gpuNumber((*Gpu).GetGpu, "gpu.gpuInstance", "GI", Number, InJSON, "MIG: id of the GPU instance.",
			func(d *GpuDevice) *uint32 { return d.GpuInstance }),
		gpuNumber((*Gpu).GetGpu, "gpu.computeInstance", "CI", Number, InJSON, "MIG: id of the compute instance.",
			func(d *GpuDevice) *uint32 { return d.ComputeInstance }),
		gpuNumber((*Gpu).GetGpu, "gpu.minor", "MINOR", Number, InJSON, "Number of the GPU's device file, /dev/nvidia0.",
			func(d *GpuDevice) *uint32 { return d.Minor }),
		gpuNumber((*Gpu).GetGpu, "gpu.placementStart", "PLACEMENT", Number, InJSON,
			"MIG: first memory slice of the GPU instance; null where the driver keeps that to itself.",
			func(d *GpuDevice) *uint32 { return d.PlacementStart }),

		gpuCell("memoryOfTotal", "MEM", "Memory in use and memory of the device; of a process, its own.", 13,
			func(dst []byte, g *Gpu, _ *View) []byte {
				if p := g.GetProc(); p != nil {
					if p.MemoryBytes == nil {
						return dst
					}
					return AppendBytes(dst, p.GetMemoryBytes())
				}
				if m := g.GetMemory(); m != nil {
					return slash(dst, m.UsedBytes, m.TotalBytes, AppendBytes)
				}
				return dst
			}),
		gpuNumber((*Gpu).GetMemory, "memory.totalBytes", "MEM-TOTAL", Bytes, InJSON, "Memory of the device.",
			func(m *GpuMemory) *uint64 { return m.TotalBytes }),
		gpuNumber((*Gpu).GetMemory, "memory.usedBytes", "MEM-USED", Bytes, InJSON, "Of it, allocated by processes.",
			func(m *GpuMemory) *uint64 { return m.UsedBytes }),
		gpuNumber((*Gpu).GetMemory, "memory.reservedBytes", "MEM-RESERVED", Bytes, InJSON,
			"Of it, taken by driver and firmware (nvmlDeviceGetMemoryInfo_v2).",
			func(m *GpuMemory) *uint64 { return m.ReservedBytes }),

		gpuNumber((*Gpu).GetActivity, "activity.gpuPercent", "UTIL%", Count, InJSON,
			"Percent of the driver's last sample period (1/6 to 1 s) in which at least one kernel ran on the device, "+
				"however little of it that used (nvmlDeviceGetUtilizationRates).",
			func(a *GpuActivity) *uint32 { return a.GpuPercent }),
		gpuNumber((*Gpu).GetActivity, "activity.memoryPercent", "MEM-UTIL%", Count, InJSON,
			"Percent of the same period in which its memory was read or written.",
			func(a *GpuActivity) *uint32 { return a.MemoryPercent }),
		gpuShare("smPercent", "SM", InTable|InWide|InJSON, "in which an SM had at least one warp, mean over SMs",
			func(a *GpuActivity) *float64 { return a.SmPercent }),
		gpuShare("occupancyPercent", "OCC", InWide|InJSON, "and of the warps that SMs can hold, those they held",
			func(a *GpuActivity) *float64 { return a.OccupancyPercent }),
		gpuShare("tensorPercent", "TENSOR", InTable|InWide|InJSON, "in which tensor cores worked, mean over SMs",
			func(a *GpuActivity) *float64 { return a.TensorPercent }),
		gpuShare("dramPercent", "DRAM", InTable|InWide|InJSON, "of the memory's bandwidth that was used",
			func(a *GpuActivity) *float64 { return a.DramPercent }),
		gpuShare("fp64Percent", "FP64", InJSON, "in which FP64 pipes worked",
			func(a *GpuActivity) *float64 { return a.Fp64Percent }),
		gpuShare("fp32Percent", "FP32", InJSON, "in which FP32 pipes worked",
			func(a *GpuActivity) *float64 { return a.Fp32Percent }),
		gpuShare("fp16Percent", "FP16", InJSON, "in which FP16 pipes worked, tensor cores not included",
			func(a *GpuActivity) *float64 { return a.Fp16Percent }),
		gpuNumber((*Gpu).GetActivity, "activity.pcieSentPerSecond", "PCIE-TX", Bytes, InWide|InJSON,
			"Bytes a second from the device over PCIe, by GPM or the difference of the counters of fields 197 and 198.",
			func(a *GpuActivity) *uint64 { return a.PcieSentPerSecond }),
		gpuNumber((*Gpu).GetActivity, "activity.pcieReceivedPerSecond", "PCIE-RX", Bytes, InWide|InJSON,
			"Bytes a second to the device over PCIe.", func(a *GpuActivity) *uint64 { return a.PcieReceivedPerSecond }),
		gpuNumber((*Gpu).GetActivity, "activity.nvlinkSentPerSecond", "NVLINK-TX", Bytes, InWide|InJSON,
			"Bytes a second from the device over all its NVLinks, by GPM or the difference of the counters of fields "+
				"138 and 139.",
			func(a *GpuActivity) *uint64 { return a.NvlinkSentPerSecond }),
		gpuNumber((*Gpu).GetActivity, "activity.nvlinkReceivedPerSecond", "NVLINK-RX", Bytes, InWide|InJSON,
			"Bytes a second to the device over all its NVLinks.",
			func(a *GpuActivity) *uint64 { return a.NvlinkReceivedPerSecond }),

		gpuCell("power", "POWER", "Power and its limit.", 9, func(dst []byte, g *Gpu, _ *View) []byte {
			if h := g.GetHealth(); h != nil {
				return slash(dst, wide(h.PowerMilliwatts), wide(h.PowerLimitMilliwatts), appendWatts)
			}
			return dst
		}),
		gpuNumber((*Gpu).GetHealth, "health.powerMilliwatts", "POWER-MW", Count, InJSON,
			"Power of the whole board, mW; of a GPU since Ampere, mean over one second.",
			func(h *GpuHealth) *uint32 { return h.PowerMilliwatts }),
		gpuNumber((*Gpu).GetHealth, "health.powerLimitMilliwatts", "LIMIT-MW", Count, InJSON,
			"Power limit in force, mW (nvmlDeviceGetEnforcedPowerLimit).",
			func(h *GpuHealth) *uint32 { return h.PowerLimitMilliwatts }),
		gpuNumber((*Gpu).GetHealth, "health.temperatureCelsius", "TEMP", Count, InTable|InWide|InJSON,
			"Temperature of the GPU's die, °C.", func(h *GpuHealth) *uint32 { return h.TemperatureCelsius }),
		gpuNumber((*Gpu).GetHealth, "health.smMhz", "SM-MHZ", Count, InWide|InJSON, "Clock of the SMs, MHz.",
			func(h *GpuHealth) *uint32 { return h.SmMhz }),
		gpuNumber((*Gpu).GetHealth, "health.maxSmMhz", "MAX-MHZ", Count, InJSON,
			"The highest that the clock of the SMs can be, MHz (nvmlDeviceGetMaxClockInfo).",
			func(h *GpuHealth) *uint32 { return h.MaxSmMhz }),
		gpuNumber((*Gpu).GetHealth, "health.memoryMhz", "MEM-MHZ", Count, InWide|InJSON, "Clock of the memory, MHz.",
			func(h *GpuHealth) *uint32 { return h.MemoryMhz }),
		gpuText((*Gpu).GetHealth, "health.throttle", "THROTTLE", 10, InWide|InJSON,
			`What keeps the clocks from their highest, with commas between; "none" `+
				`(nvmlDeviceGetCurrentClocksEventReasons). idle is none to worry about.`, (*GpuHealth).GetThrottle),
		gpuNumber((*Gpu).GetHealth, "health.eccCorrected", "ECC", Count, InJSON,
			"Memory errors corrected since the driver was loaded.",
			func(h *GpuHealth) *uint64 { return h.EccCorrected }),
		gpuNumber((*Gpu).GetHealth, "health.eccUncorrected", "ECC-UNCORR", Count, InWide|InJSON,
			"Memory errors not corrected since the driver was loaded.",
			func(h *GpuHealth) *uint64 { return h.EccUncorrected }),
		gpuNumber((*Gpu).GetHealth, "health.retiredPages", "RETIRED", Count, InJSON,
			"Pages of memory taken out of use for errors (before Ampere).",
			func(h *GpuHealth) *uint32 { return h.RetiredPages }),
		gpuNumber((*Gpu).GetHealth, "health.remappedRows", "REMAPPED", Count, InJSON,
			"Rows of memory replaced by spare ones for errors (Ampere and newer).",
			func(h *GpuHealth) *uint32 { return h.RemappedRows }),

		{
			Name: "proc.pid", Header: "PID", Type: Number, Outputs: InJSON, Doc: "Process id on the node.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetGpu().GetProc().GetPid())) },
		},
		{
			Name: "proc.comm", Header: "COMM", Type: Text, Outputs: InJSON,
			Doc: "Command of the process. Bytes that are not UTF-8 are escaped.",
			Get: func(ev *Event) Value { return exact(ev.GetGpu().GetProc().GetComm()) },
		},
		gpuText((*Gpu).GetProc, "proc.type", "TYPE", 8, InWide|InJSON,
			"compute, graphics or mps (a client of the MPS server), several with + between.", (*GpuProcess).GetType),
		gpuNumber((*Gpu).GetProc, "proc.memoryBytes", "PROC-MEM", Bytes, InJSON,
			"Memory of the device that the process has allocated, its context included.",
			func(p *GpuProcess) *uint64 { return p.MemoryBytes }),
		gpuNumber((*Gpu).GetProc, "proc.smPercent", "PROC-SM%", Count, InJSON,
			"Percent of the time in which a kernel of the process ran, mean over the driver's samples of the period.",
			func(p *GpuProcess) *uint32 { return p.SmPercent }),
		gpuNumber((*Gpu).GetProc, "proc.memoryPercent", "PROC-MEM%", Count, InJSON,
			"Percent of the time in which the process read or wrote the device's memory.",
			func(p *GpuProcess) *uint32 { return p.MemoryPercent }),

		gpuNumber(gpuItself, "xid", "XID", Number, InJSON, "Number of the driver's error.",
			func(g *Gpu) *uint32 { return g.Xid }),
		gpuText(gpuItself, "message", "MESSAGE", 20, InJSON, "What has happened, in words.", (*Gpu).GetMessage),
		gpuNumber(gpuItself, "periodMicros", "PERIOD", Micros, InWide|InJSON,
			"How long the period was that percentages and rates are of, µs.",
			func(g *Gpu) *uint64 { return g.PeriodMicros }),
		gpuNumber(gpuItself, "processes", "PROCS", Count, InJSON, "Processes on the device, of whomever.",
			func(g *Gpu) *uint32 { return g.Processes }),
		gpuNumber(gpuItself, "ownProcesses", "OWN-PROCS", Count, InJSON, "Of them, those of the traced containers.",
			func(g *Gpu) *uint32 { return g.OwnProcesses }),
		gpuText(gpuItself, "allocatedTo", "GIVEN-TO", 20, InJSON, "Traced containers that the kubelet has given the "+
			"device to, namespace/pod/container, sorted, with commas between.", (*Gpu).GetAllocatedTo),
		gpuNumber(gpuItself, "allocated", "ALLOCATED", Count, InJSON, "Containers, of whomever, that the kubelet has "+
			"given the device to: more than one with time-slicing. null: the kubelet does not say.",
			func(g *Gpu) *uint32 { return g.Allocated }),
		{
			Name: "use", Header: "USE", Type: Enum, Enum: gpuUses[1:], Width: 6, Outputs: InWide | InJSON,
			Doc: "What allocation and activity come to. free: given to nobody, nobody's process on it; busy: a " +
				"kernel ran; idle: processes on it, nothing runs; " +
				"unused: given to a container, no process on it; bypass: a process on it is of a container that it " +
				"was not given to.",
			Get: func(ev *Event) Value { return String(ev.GetGpu().GetUse().Word()) },
		},
		gpuText(gpuItself, "usedBy", "USED-BY", 20, InJSON,
			"Traced containers with a process on the device, namespace/pod/container, sorted, with commas between.",
			(*Gpu).GetUsedBy),
		gpuText(gpuItself, "unavailable", "UNAVAILABLE", 20, InJSON, "What is null here because it could not be "+
			"read, and why: a reason, a colon and the fields, with ; between reasons.", (*Gpu).GetUnavailable),
	},
	callColumns,
	[]Column{
		gpuCell("detail", "DETAIL", "What has happened, or what slows the device down.", 16,
			func(dst []byte, g *Gpu, _ *View) []byte {
				switch throttle := g.GetHealth().GetThrottle(); {
				case g.GetMessage() != "":
					return append(dst, g.GetMessage()...)
				case g.GetType() == GpuEventType_GPU_EVENT_TYPE_PROCESS:
					return append(dst, g.GetProc().GetType()...)
				case g.GetCalls() != nil:
					return appendCalls(dst, g.GetCalls())
				case throttle != "":
					return append(dst, throttle...)
				}
				return dst
			}),
	},
)
