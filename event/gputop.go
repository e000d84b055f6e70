package event

// gpuMean makes a column of a percentage of top gpu, null where no GPU of the row reports it.
func gpuMean(name, header, doc string, get func(*GpuTop) *float64) Column {
	return Column{Name: name, Header: header, Type: Rate, Width: 6, Outputs: everywhere, Doc: doc,
		Get: func(ev *Event) Value {
			if g := ev.GetGpuTop(); g != nil {
				if p := get(g); p != nil {
					return Float(*p)
				}
			}
			return Value{}
		}}
}

func gpuSum(name, header string, t Type, width int, outputs Outputs, doc string, get func(*GpuTop) *uint64) Column {
	return Column{Name: name, Header: header, Type: t, Width: width, Outputs: outputs, Doc: doc,
		Get: func(ev *Event) Value {
			if g := ev.GetGpuTop(); g != nil {
				return Optional(get(g))
			}
			return Value{}
		}}
}

// gpuOf makes a column of an amount that tables show with what it is of.
func gpuOf(
	name, header string, t Type, width int, doc string, get func(*GpuTop) (used, of *uint64),
	unit func([]byte, uint64) []byte,
) Column {
	c := gpuSum(name, header, t, width, everywhere, doc, func(g *GpuTop) *uint64 {
		used, _ := get(g)
		return used
	})
	c.Show = func(dst []byte, ev *Event, _ *View) []byte {
		if g := ev.GetGpuTop(); g != nil {
			used, of := get(g)
			if used != nil && of == nil && g.GetGroup() == "process" { // it has no part of a device of its own
				return unit(dst, *used)
			}
			return slash(dst, used, of, unit)
		}
		return dst
	}
	return c
}

func gpuTopText(name, header string, width int, outputs Outputs, doc string, get func(*GpuTop) string) Column {
	return Column{Name: name, Header: header, Type: Text, Width: width, Outputs: outputs, Doc: doc,
		Get: func(ev *Event) Value { return String(get(ev.GetGpuTop())) }}
}

// gpuIdle distinguishes in tables an idle GPU that is not held from one whose holders are unknown.
var gpuIdle = func() Column {
	c := gpuSum("idleMicros", "IDLE", Micros, 6, everywhere,
		"How long a traced container has held a GPU that does nothing, within the trace; the "+
			"longest. Null: none does, or it is not known.",
		func(g *GpuTop) *uint64 { return g.IdleMicros })
	c.Show = func(dst []byte, ev *Event, _ *View) []byte {
		switch g := ev.GetGpuTop(); {
		case g == nil:
			return dst
		case g.IdleMicros != nil:
			return AppendMicros(dst, g.GetIdleMicros())
		case g.OwnProcesses != nil && (g.GpuPercent != nil || g.GetOwnProcesses() == 0):
			return append(dst, Nobody...)
		}
		return dst
	}
	return c
}()

// gpuRate is a column of a mean over the window that only some GPUs, or only processes, have.
func gpuRate(name, header string, t Type, outputs Outputs, doc string, get func(*GpuTop) *float64) Column {
	return Column{Name: name, Header: header, Type: t, Width: 9, Outputs: outputs, Doc: doc,
		Get: func(ev *Event) Value {
			if g := ev.GetGpuTop(); g != nil {
				if p := get(g); p != nil {
					if t == Bytes {
						return Uint(uint64(*p + 0.5))
					}
					return Float(*p)
				}
			}
			return Value{}
		}}
}

var gpuTopColumns = topColumns([]string{"gpu", "model", "process", "pod", "container", "workload", "namespace", "node"},
	[]Column{
		gpuTopText("uuid", "UUID", 20, InJSON, "UUID of the GPU or MIG device; null where a row counts several.",
			(*GpuTop).GetUuid),
		gpuTopText("model", "MODEL", 16, InWide|InJSON, "Product name; null where a row counts several.",
			(*GpuTop).GetModel),
		total("gpus", "GPUS", Count, 4, InWide|InJSON, "GPUs and MIG devices that the row counts.",
			func(ev *Event) uint64 { return ev.GetGpuTop().GetGpus() }),
		gpuMean("gpuPercent", "UTIL%", "Percent of the window in which any kernel ran, mean over the GPUs.",
			func(g *GpuTop) *float64 { return g.GpuPercent }),
		gpuMean("smPercent", "SM%", "Percent of the window in which SMs had work (GPM).",
			func(g *GpuTop) *float64 { return g.SmPercent }),
		gpuMean("tensorPercent", "TENSOR%", "Percent of the window in which tensor cores worked (GPM).",
			func(g *GpuTop) *float64 { return g.TensorPercent }),
		gpuMean("dramPercent", "DRAM%", "Percent of the memory's bandwidth that was used (GPM).",
			func(g *GpuTop) *float64 { return g.DramPercent }),
		gpuOf("memoryUsedBytes", "MEM", Bytes, 13, "Memory in use; tables show all of it, too.",
			func(g *GpuTop) (used, of *uint64) { return g.MemoryUsedBytes, g.MemoryTotalBytes }, AppendBytes),
		gpuSum("memoryTotalBytes", "MEM-TOTAL", Bytes, 7, InJSON, "All memory.",
			func(g *GpuTop) *uint64 { return g.MemoryTotalBytes }),
		gpuOf("powerMilliwatts", "POWER", Count, 9, "Power, mW; tables show W, and the limit in force.",
			func(g *GpuTop) (used, of *uint64) { return g.PowerMilliwatts, g.PowerLimitMilliwatts }, appendWatts),
		gpuSum("powerLimitMilliwatts", "LIMIT-MW", Count, 7, InJSON, "Power limit in force, mW.",
			func(g *GpuTop) *uint64 { return g.PowerLimitMilliwatts }),
		gpuSum("temperatureCelsius", "TEMP", Count, 4, everywhere, "Temperature, °C; the highest of several.",
			func(g *GpuTop) *uint64 { return g.TemperatureCelsius }),
		gpuRate("pcieSentPerSecond", "PCIE-TX", Bytes, InWide|InJSON, "Bytes a second from the GPUs over PCIe.",
			func(g *GpuTop) *float64 { return g.PcieSentPerSecond }),
		gpuRate("pcieReceivedPerSecond", "PCIE-RX", Bytes, InWide|InJSON, "Bytes a second to the GPUs over PCIe.",
			func(g *GpuTop) *float64 { return g.PcieReceivedPerSecond }),
		gpuRate("nvlinkSentPerSecond", "NVLINK-TX", Bytes, InJSON, "Bytes a second from the GPUs over NVLink.",
			func(g *GpuTop) *float64 { return g.NvlinkSentPerSecond }),
		gpuRate("nvlinkReceivedPerSecond", "NVLINK-RX", Bytes, InJSON, "Bytes a second to the GPUs over NVLink.",
			func(g *GpuTop) *float64 { return g.NvlinkReceivedPerSecond }),
		gpuRate("launchesPerSecond", "LAUNCH/S", Rate, InWide|InJSON,
			"Kernels and CUDA graphs that the traced processes launched, a second.",
			func(g *GpuTop) *float64 { return g.LaunchesPerSecond }),
		gpuRate("copiedBytesPerSecond", "COPY/S", Bytes, InWide|InJSON,
			"Bytes a second that the traced processes had copied.",
			func(g *GpuTop) *float64 { return g.CopiedBytesPerSecond }),
		gpuRate("syncPercent", "SYNC%", Rate, InWide|InJSON,
			"Percent of the window that threads of the traced processes "+
				"were blocked in synchronisation, over all threads: more than 100 with several.",
			func(g *GpuTop) *float64 { return g.SyncPercent }),
		{
			Name: "pid", Header: "PID", Type: Number, Width: 7, Outputs: InWide | InJSON,
			Doc: "Process id on the node; null where a row counts no single process.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetGpuTop().GetPid())) },
		},
		{
			Name: "comm", Header: "COMM", Type: Text, Width: 15, Outputs: InJSON, Doc: "Its command.",
			Get: func(ev *Event) Value { return exact(ev.GetGpuTop().GetComm()) },
		},
		gpuSum("processes", "PROCS", Count, 5, InWide|InJSON, "Processes on them, of whomever.",
			func(g *GpuTop) *uint64 { return g.Processes }),
		gpuSum("ownProcesses", "OWN", Count, 4, InWide|InJSON, "Of them, those of the traced containers.",
			func(g *GpuTop) *uint64 { return g.OwnProcesses }),
		gpuIdle,
		gpuTopText("uses", "USE", 6, everywhere,
			"What allocation and activity come to at the newest sample, the words of "+
				"gpu's use with commas between; null: not known.", (*GpuTop).GetUses),
		gpuTopText("allocatedTo", "GIVEN-TO", 24, InWide|InJSON,
			"Traced containers that the kubelet has given them to, namespace/pod/container, sorted, with commas "+
				"between.", (*GpuTop).GetAllocatedTo),
		gpuTopText("throttle", "THROTTLE", 10, InWide|InJSON,
			"What slows them down, with commas between; null where nothing does, or it is not known.",
			(*GpuTop).GetThrottle),
		{
			Name: "usedBy", Header: "USED-BY", Type: Text, Width: 24, Outputs: everywhere,
			Doc: "Traced containers with a process on them, namespace/pod/container, sorted, with commas " +
				"between; null " +
				"where there are none.",
			Get: func(ev *Event) Value { return String(ev.GetGpuTop().GetUsedBy()) },
			Show: func(dst []byte, ev *Event, v *View) []byte {
				switch g := ev.GetGpuTop(); {
				case g.GetUsedBy() != "":
					return appendUsers(dst, g.GetUsedBy(), v)
				case g != nil && g.OwnProcesses != nil:
					return append(dst, Nobody...)
				}
				return dst
			},
		},
	})
