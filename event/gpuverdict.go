package event

import (
	"strconv"
	"strings"
)

func isGpuVerdict(ev *Event) bool { _, ok := ev.GetKind().(*Event_GpuVerdict); return ok }

// gpuCauses are the words of GpuCause by number.
var gpuCauses = []string{"unknown", "abandoned", "network", "storage", "cpu", "launch", "copy", "collective", "memory",
	"compute", "throttle", "sick"}

// Word is what JSON and tables show of it.
func (c GpuCause) Word() string { return word(gpuCauses, int32(c)) }

// Of is the share of one cause, in percent.
func (s *GpuShares) Of(c GpuCause) float64 {
	if p := s.share(c); p != nil {
		return *p
	}
	return 0
}

// Set sets the share of one cause, in percent.
func (s *GpuShares) Set(c GpuCause, percent float64) {
	if p := s.share(c); p != nil {
		*p = percent
	}
}

func (s *GpuShares) share(c GpuCause) *float64 {
	if s == nil {
		return nil
	}
	switch c {
	case GpuCause_GPU_CAUSE_UNKNOWN:
		return &s.Unknown
	case GpuCause_GPU_CAUSE_ABANDONED:
		return &s.Abandoned
	case GpuCause_GPU_CAUSE_NETWORK:
		return &s.Network
	case GpuCause_GPU_CAUSE_STORAGE:
		return &s.Storage
	case GpuCause_GPU_CAUSE_CPU:
		return &s.Cpu
	case GpuCause_GPU_CAUSE_LAUNCH:
		return &s.Launch
	case GpuCause_GPU_CAUSE_COPY:
		return &s.Copy
	case GpuCause_GPU_CAUSE_COLLECTIVE:
		return &s.Collective
	case GpuCause_GPU_CAUSE_MEMORY:
		return &s.Memory
	case GpuCause_GPU_CAUSE_COMPUTE:
		return &s.Compute
	case GpuCause_GPU_CAUSE_THROTTLE:
		return &s.Throttle
	case GpuCause_GPU_CAUSE_SICK:
		return &s.Sick
	}
	return nil
}

// causeDocs say what a share is of, in the order of gpuCauses.
var causeDocs = []string{
	"in which the GPUs were idle without a known cause",
	"in which memory was held without driver calls", "spent waiting for input from the network",
	"spent waiting for block devices or file systems", "spent waiting for CPUs that prepare input",
	"spent launching small kernels, or synchronising after each",
	"spent on copies between host and device", "in which collective operations waited for other GPUs",
	"in which GPUs worked, limited by their memory bandwidth", "in which GPUs worked, limited by their SMs",
	"in which GPUs worked with clocks throttled by power or temperature",
	"in which the driver reported errors of the device",
}

func causeColumns() (list []Column) {
	for i, name := range gpuCauses {
		cause := GpuCause(i)
		list = append(list, Column{
			Name: "shares." + name, Header: "SHARE-" + strings.ToUpper(name), Type: Rate, Outputs: InJSON,
			Doc: "Percent of the window " + causeDocs[i] + ".",
			Get: func(ev *Event) Value {
				if s := ev.GetGpuVerdict().GetShares(); s != nil {
					return Float(s.Of(cause))
				}
				return Value{}
			},
		})
	}
	return list
}

var gpuEvidence = evidence[GpuEvidence]{func(ev *Event) *GpuEvidence { return ev.GetGpuVerdict().GetEvidence() }}

// textColumn makes columns of text of what a message of the event has.
type textColumn[M any] func(*Event) *M

func (of textColumn[M]) text(name, header string, width int, outputs Outputs, doc string, get func(*M) string) Column {
	return Column{Name: name, Header: header, Type: Text, Width: width, Outputs: outputs, Doc: doc,
		Get: func(ev *Event) Value { return String(get(of(ev))) }}
}

var verdictText = textColumn[GpuVerdict]((*Event).GetGpuVerdict).text

// gpuVerdictColumns are what gpuVerdict adds, in the order of the JSON object.
var gpuVerdictColumns = concat(
	podCells[:1],
	[]Column{
		verdictText("workload", "WORKLOAD", 12, InWide|InJSON, "Controller that owns the pod.",
			(*GpuVerdict).GetWorkload),
		{
			Name: "windowMicros", Header: "WINDOW", Type: Micros, Outputs: InWide | InJSON,
			Doc: "How long before time the pod was watched, µs.",
			Get: func(ev *Event) Value { return NonZero(ev.GetGpuVerdict().GetWindowMicros()) },
		},
		total("gpus", "GPUS", Count, 4, everywhere, "GPUs and MIG devices that the pod has processes on, or was given.",
			func(ev *Event) uint64 { return ev.GetGpuVerdict().GetGpus() }),
		{
			Name: "verdict", Header: "VERDICT", Type: Enum, Enum: gpuCauses, Width: 10, Outputs: everywhere,
			Doc: "The cause with the largest share of the time, or sick whatever its share. unknown: idle " +
				"without a known cause. Null if no data of the GPUs was seen.",
			Get: func(ev *Event) Value {
				if v := ev.GetGpuVerdict(); v.GetShares() != nil {
					return String(v.GetVerdict().Word())
				}
				return Value{}
			},
		},
		{
			Name: "confidence", Header: "CONFIDENCE", Type: Enum, Enum: confidenceWords[1:], Width: 10,
			Outputs: everywhere, Doc: "How sure that is: high, medium or low.",
			Get: func(ev *Event) Value { return String(ev.GetGpuVerdict().GetConfidence().Word()) },
		},
		{
			Name: "share", Header: "SHARE", Doc: "Share of the window that goes to the verdict's cause.", Width: 5,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				if v := ev.GetGpuVerdict(); v.GetShares() != nil {
					return append(strconv.AppendFloat(dst, v.GetShares().Of(v.GetVerdict()), 'f', 0, 64), '%')
				}
				return dst
			},
		},
		verdictText("words", "WORDS", 40, everywhere, "The verdict for people.", (*GpuVerdict).GetWords),
		{
			Name: "second", Header: "SECOND", Type: Enum, Enum: gpuCauses, Width: 10, Outputs: InWide | InJSON,
			Doc: "The cause with the second largest share; null where there is none to speak of.",
			Get: func(ev *Event) Value {
				if v := ev.GetGpuVerdict(); v != nil && v.Second != nil {
					return String(v.GetSecond().Word())
				}
				return Value{}
			},
		},
		verdictText("apart", "APART", 20, InJSON, "What would distinguish the first two causes.",
			(*GpuVerdict).GetApart),
		verdictText("missing", "MISSING", 20, InWide|InJSON,
			"What could not be seen, with commas between; it makes the verdict less sure.", (*GpuVerdict).GetMissing),
		total("lost", "LOST", Count, 4, InWide|InJSON, "Events of the pod's node that were lost in the window.",
			func(ev *Event) uint64 { return ev.GetGpuVerdict().GetLost() }),
	},
	causeColumns(),
	[]Column{
		gpuEvidence.number("gpuPercent", "UTIL%",
			"Percent of the window in which any kernel ran (nvmlDeviceGetUtilizationRates), mean over the GPUs.",
			func(e *GpuEvidence) *float64 { return e.GpuPercent }),
		gpuEvidence.number("smPercent", "SM%", "Percent of the window in which SMs had work (GPM).",
			func(e *GpuEvidence) *float64 { return e.SmPercent }),
		gpuEvidence.number("tensorPercent", "TENSOR%", "Percent of the window in which tensor cores worked (GPM).",
			func(e *GpuEvidence) *float64 { return e.TensorPercent }),
		gpuEvidence.number("dramPercent", "DRAM%", "Percent of the memory's bandwidth that was used (GPM).",
			func(e *GpuEvidence) *float64 { return e.DramPercent }),
		gpuEvidence.number("memoryPercent", "MEM-UTIL%",
			"Percent of the window in which the memory was read or written (nvmlDeviceGetUtilizationRates).",
			func(e *GpuEvidence) *float64 { return e.MemoryPercent }),
		gpuEvidence.number("powerPercent", "POWER%", "Power in percent of the limit in force.",
			func(e *GpuEvidence) *float64 { return e.PowerPercent }),
		gpuEvidence.number("clockPercent", "CLOCK%",
			"Clock of the SMs in percent of the highest it can be, in samples of busy devices.",
			func(e *GpuEvidence) *float64 { return e.ClockPercent }),
		gpuEvidence.number(
			"throttledPercent",
			"THROTTLED%",
			"Percent of the samples in which power or heat kept the clocks "+
				"down; of samples in which they were between 75 and 90 % of their highest, a part.",
			func(e *GpuEvidence) *float64 { return e.ThrottledPercent },
		),
		gpuEvidence.text("throttle", "THROTTLE", "What it was that did so, with commas between.",
			(*GpuEvidence).GetThrottle),
		gpuEvidence.whole("temperatureCelsius", "TEMP", Count, "The highest temperature, °C.",
			func(e *GpuEvidence) *uint64 { return e.TemperatureCelsius }),
		gpuEvidence.whole(
			"memoryHeldBytes",
			"HELD",
			Bytes,
			"Memory of the devices that the pod's processes hold at the end.",
			func(e *GpuEvidence) *uint64 { return e.MemoryHeldBytes },
		),
		gpuEvidence.bytes("pcieReceivedPerSecond", "PCIE-RX", "Bytes a second to the devices over PCIe, the sum.",
			func(e *GpuEvidence) *float64 { return e.PcieReceivedPerSecond }),
		gpuEvidence.bytes("pcieSentPerSecond", "PCIE-TX", "Bytes a second from the devices over PCIe, the sum.",
			func(e *GpuEvidence) *float64 { return e.PcieSentPerSecond }),
		gpuEvidence.bytes("nvlinkPerSecond", "NVLINK", "Bytes a second over NVLink, both ways, the sum (GPM).",
			func(e *GpuEvidence) *float64 { return e.NvlinkPerSecond }),
		gpuEvidence.whole("processes", "PROCS", Count, "Processes of the pod on the devices.",
			func(e *GpuEvidence) *uint64 { return e.Processes }),
		gpuEvidence.number(
			"launchesPerSecond",
			"LAUNCH/S",
			"Kernels launched a second, all processes (uprobes at libcuda).",
			func(e *GpuEvidence) *float64 { return e.LaunchesPerSecond },
		),
		gpuEvidence.number("graphsPerSecond", "GRAPHS/S", "CUDA graphs launched a second.",
			func(e *GpuEvidence) *float64 { return e.GraphsPerSecond }),
		gpuEvidence.bytes("copiedPerSecond", "COPY/S", "Bytes a second copied between host and device.",
			func(e *GpuEvidence) *float64 { return e.CopiedPerSecond }),
		gpuEvidence.number("copyPercent", "COPY%", "Host time in copies, in percent of one thread for each process.",
			func(e *GpuEvidence) *float64 { return e.CopyPercent }),
		gpuEvidence.number("syncPercent", "SYNC%",
			"Host time blocked in synchronisation, in percent of one thread for each process.",
			func(e *GpuEvidence) *float64 { return e.SyncPercent }),
		gpuEvidence.number("syncsPerSecond", "SYNCS/S", "Synchronisations a second.",
			func(e *GpuEvidence) *float64 { return e.SyncsPerSecond }),
		gpuEvidence.whole("waitingMicros", "WAITING", Micros,
			"The longest that a synchronisation that had not returned was seen to last, µs.",
			func(e *GpuEvidence) *uint64 { return e.WaitingMicros }),
		gpuEvidence.number(
			"collectivesPerSecond",
			"COLLECTIVES/S",
			"NCCL operations a second; null where no NCCL was found.",
			func(e *GpuEvidence) *float64 { return e.CollectivesPerSecond },
		),
		gpuEvidence.number("cpuMillis", "CPU", "CPU time in thousandths of a CPU, all containers.",
			func(e *GpuEvidence) *float64 { return e.CpuMillis }),
		gpuEvidence.whole("cpuLimitMillis", "CPU-LIMIT", Count, "CPU limit of the containers; null where one has none.",
			func(e *GpuEvidence) *uint64 { return e.CpuLimitMillis }),
		gpuEvidence.number("cpuThrottledPercent", "THR%",
			"Percent of the enforcement periods in which the busiest container's CPU limit was used up.",
			func(e *GpuEvidence) *float64 { return e.CpuThrottledPercent }),
		gpuEvidence.number("cpuPressurePercent", "PSI-CPU%",
			"Percent of the window in which some task of the busiest container waited for a CPU (PSI).",
			func(e *GpuEvidence) *float64 { return e.CpuPressurePercent }),
		gpuEvidence.number("ioPressurePercent", "PSI-IO%", "The same, waited for block devices or file systems.",
			func(e *GpuEvidence) *float64 { return e.IoPressurePercent }),
		gpuEvidence.number("memoryPressurePercent", "PSI-MEM%", "The same, waited for memory.",
			func(e *GpuEvidence) *float64 { return e.MemoryPressurePercent }),
		gpuEvidence.number("runQueue", "RUNQ", "Tasks that waited for a CPU, mean over the window.",
			func(e *GpuEvidence) *float64 { return e.RunQueue }),
		gpuEvidence.bytes("readPerSecond", "READ/S", "Bytes a second that block devices read for the pod.",
			func(e *GpuEvidence) *float64 { return e.ReadPerSecond }),
		gpuEvidence.bytes("networkReceivedPerSecond", "RECV/S",
			"Payload bytes a second received over the network, but from pods of the same workload.",
			func(e *GpuEvidence) *float64 { return e.NetworkReceivedPerSecond }),
		gpuEvidence.bytes("peerReceivedPerSecond", "PEER-RECV/S",
			"Payload bytes a second received from pods of the same workload.",
			func(e *GpuEvidence) *float64 { return e.PeerReceivedPerSecond }),
		gpuEvidence.number("retransmitsPerSecond", "RETR/S",
			"TCP segments a second retransmitted in these flows, by either end that was observed.",
			func(e *GpuEvidence) *float64 { return e.RetransmitsPerSecond }),
		gpuEvidence.text("xids", "XIDS",
			"Errors that the driver reported of the devices (XID numbers), with commas between.",
			(*GpuEvidence).GetXids),
		gpuEvidence.whole("eccUncorrected", "ECC-UNCORR", Count,
			"By how many the memory errors that were not corrected have grown in the window.",
			func(e *GpuEvidence) *uint64 { return e.EccUncorrected }),
		gpuEvidence.number(
			"peersLeastPercent",
			"PEERS-MIN%",
			"Of the GPUs of all the workload's pods that were seen, where "+
				"there are several, how much of the window the one that worked least had its SMs well used, percent.",
			func(e *GpuEvidence) *float64 { return e.PeersLeastPercent },
		),
		gpuEvidence.number("peersMostPercent", "PEERS-MAX%", "The same of the one that worked most.",
			func(e *GpuEvidence) *float64 { return e.PeersMostPercent }),
	},
)
