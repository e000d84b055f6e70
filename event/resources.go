package event

import "strconv"

func isResources(ev *Event) bool { _, ok := ev.GetKind().(*Event_Resources); return ok }

// amount is a column of a number in one part of the event, either of which may be unknown.
func amount[Part any](
	part func(*Resources) *Part, name, header string, t Type, width int, outputs Outputs, doc string,
	get func(*Part) *uint64,
) Column {
	return Column{Name: name, Header: header, Type: t, Width: width, Outputs: outputs, Doc: doc,
		Get: func(ev *Event) Value {
			if p := part(ev.GetResources()); p != nil {
				return Optional(get(p))
			}
			return Value{}
		}}
}

func whole(r *Resources) *Resources { return r }

// shown is a table's cell, whose number stands in JSON by another column.
func shown[Part any](
	part func(*Resources) *Part, name, header, doc string, width int, outputs Outputs,
	show func(dst []byte, p *Part) []byte,
) Column {
	return Column{Name: name, Header: header, Doc: doc, Width: width, Outputs: outputs,
		Show: func(dst []byte, ev *Event, _ *View) []byte {
			if p := part(ev.GetResources()); p != nil {
				return show(dst, p)
			}
			return dst
		}}
}

// slash appends "used/limit", "used/-" without a limit.
func slash(dst []byte, used, limit *uint64, unit func([]byte, uint64) []byte) []byte {
	if used == nil {
		return dst
	}
	dst = append(unit(dst, *used), '/')
	if limit == nil {
		return append(dst, '-')
	}
	return unit(dst, *limit)
}

// appendMillis appends thousandths of a CPU as Kubernetes writes them.
func appendMillis(dst []byte, n uint64) []byte { return append(strconv.AppendUint(dst, n, 10), 'm') }

func appendPercent(dst []byte, n *uint64) []byte {
	if n == nil {
		return append(dst, NotAvailable...)
	}
	return append(strconv.AppendUint(dst, *n, 10), '%')
}

// resourcesColumns are what resources adds, in the order of the JSON object.
var resourcesColumns = concat(
	podCells,
	[]Column{
		{
			Name: "id", Header: "ID", Type: Text, Width: 16, Outputs: InJSON,
			Doc: "Same for all events of one container.",
			Get: func(ev *Event) Value { return String(ev.GetResources().GetId()) },
		},
		amount(whole, "intervalMicros", "INTERVAL", Micros, 8, InJSON,
			"How long the interval was that percentages, millis and quantiles are of, µs.",
			func(r *Resources) *uint64 { return r.IntervalMicros }),

		shown((*Resources).GetCpu, "cpuOfLimit", "CPU/LIMIT",
			"CPU time in the interval in thousandths of a CPU, and the container's limit.", 11, InTable|InWide,
			func(dst []byte, c *ResourcesCPU) []byte { return slash(dst, c.Millis, c.LimitMillis, appendMillis) }),
		amount((*Resources).GetCpu, "cpu.micros", "CPU-TIME", Micros, 8, InWide|InJSON,
			"CPU time, user and system, since the container began, µs.",
			func(p *ResourcesCPU) *uint64 { return p.Micros }),
		amount((*Resources).GetCpu, "cpu.millis", "CPU", Count, 5, InJSON,
			"CPU time in the interval, in thousandths of a CPU.", func(p *ResourcesCPU) *uint64 { return p.Millis }),
		amount((*Resources).GetCpu, "cpu.limitMillis", "CPU-LIMIT", Count, 5, InJSON,
			"The container's CPU limit (CFS quota for each period), in thousandths of a CPU; null without one.",
			func(p *ResourcesCPU) *uint64 { return p.LimitMillis }),
		amount((*Resources).GetCpu, "cpu.periods", "PERIODS", Count, 7, InJSON,
			"Enforcement periods in which the container wanted to run (nr_periods).",
			func(p *ResourcesCPU) *uint64 { return p.Periods }),
		amount((*Resources).GetCpu, "cpu.throttledPeriods", "THR-PERIODS", Count, 7, InJSON,
			"Of these, periods in which it had used up its limit (nr_throttled).",
			func(p *ResourcesCPU) *uint64 { return p.ThrottledPeriods }),
		amount((*Resources).GetCpu, "cpu.throttledMicros", "THR-TIME", Micros, 8, InWide|InJSON,
			"How long its tasks stood still for that, summed over CPUs, µs.",
			func(p *ResourcesCPU) *uint64 { return p.ThrottledMicros }),
		amount((*Resources).GetCpu, "cpu.throttledPercent", "THR%", Count, 4, InTable|InWide|InJSON,
			"Percent of the interval's periods in which it was throttled.",
			func(p *ResourcesCPU) *uint64 { return p.ThrottledPercent }),
		amount((*Resources).GetCpu, "cpu.nodePercent", "NODE%", Count, 5, InWide|InJSON,
			"Percent of the interval in which the node's CPUs were busy, by whatever: mean of all CPUs.",
			func(p *ResourcesCPU) *uint64 { return p.NodePercent }),

		amount((*Resources).GetRunQueue, "runQueue.runs", "RUNS", Count, 6, InJSON,
			"How often one of its tasks got a CPU and left it, since the trace began.",
			func(p *ResourcesRunQueue) *uint64 { return p.Runs }),
		amount((*Resources).GetRunQueue, "runQueue.delayMicros", "RUNQ-DELAY", Micros, 8, InWide|InJSON,
			"How long its tasks were able to run and waited for a CPU, summed over tasks, since the trace began, µs.",
			func(p *ResourcesRunQueue) *uint64 { return p.DelayMicros }),
		amount((*Resources).GetRunQueue, "runQueue.p50Nanos", "RUNQ-P50", Nanos, 8, InWide|InJSON,
			"Median wait for a CPU in the interval, ns, by a histogram of powers of two.",
			func(p *ResourcesRunQueue) *uint64 { return p.P50Nanos }),
		amount((*Resources).GetRunQueue, "runQueue.p95Nanos", "RUNQ-P95", Nanos, 8, InWide|InJSON,
			"95 % of the interval's waits are no longer, ns.",
			func(p *ResourcesRunQueue) *uint64 { return p.P95Nanos }),
		amount((*Resources).GetRunQueue, "runQueue.p99Nanos", "RUNQ-P99", Nanos, 8, InTable|InWide|InJSON,
			"99 % of the interval's waits are no longer, ns.",
			func(p *ResourcesRunQueue) *uint64 { return p.P99Nanos }),

		{
			Name: "locks.waiters", Header: "LOCK-WAITERS", Type: Rate, Width: 5, Outputs: InWide | InJSON,
			Doc: "Threads that waited for a mutex at a time, mean of the interval: those that slept in futex(2) for " +
				"one that another thread held, by samples some times a second; null without a sample.",
			Get: func(ev *Event) Value {
				if l := ev.GetResources().GetLocks(); l != nil && l.Waiters != nil {
					return Float(*l.Waiters)
				}
				return Value{}
			},
		},
		amount((*Resources).GetLocks, "locks.waitedMicros", "LOCK-TIME", Micros, 8, InJSON,
			"How long its threads waited for mutexes, summed over threads, since the trace began, by the samples, µs.",
			func(p *ResourcesLocks) *uint64 { return p.WaitedMicros }),

		shown((*Resources).GetMemory, "memoryOfLimit", "MEM/LIMIT", "Working set and the container's memory limit.", 13,
			InTable|InWide,
			func(dst []byte, m *ResourcesMemory) []byte {
				return slash(dst, m.WorkingSetBytes, m.LimitBytes, AppendBytes)
			}),
		amount((*Resources).GetMemory, "memory.bytes", "MEM", Bytes, 7, InWide|InJSON,
			"Memory charged to the container, page cache included.",
			func(p *ResourcesMemory) *uint64 { return p.Bytes }),
		amount((*Resources).GetMemory, "memory.workingSetBytes", "WORKING-SET", Bytes, 7, InJSON,
			"Of that, what is not file cache unused for long: what the kubelet evicts by.",
			func(p *ResourcesMemory) *uint64 { return p.WorkingSetBytes }),
		amount((*Resources).GetMemory, "memory.limitBytes", "MEM-LIMIT", Bytes, 7, InJSON,
			"The container's memory limit; null without one.",
			func(p *ResourcesMemory) *uint64 { return p.LimitBytes }),
		amount((*Resources).GetMemory, "memory.percent", "MEM%", Count, 4, InTable|InWide|InJSON,
			"The working set in percent of the limit.", func(p *ResourcesMemory) *uint64 { return p.Percent }),
		amount((*Resources).GetMemory, "memory.peakBytes", "MEM-PEAK", Bytes, 7, InWide|InJSON,
			"The most that was charged at a time (cgroup v2: Linux 5.19).",
			func(p *ResourcesMemory) *uint64 { return p.PeakBytes }),
		amount((*Resources).GetMemory, "memory.oomKills", "OOM", Count, 3, InTable|InWide|InJSON,
			"Processes that the kernel has killed in it for want of memory, since the container began.",
			func(p *ResourcesMemory) *uint64 { return p.OomKills }),

		shown((*Resources).GetPressure, "pressures", "PSI-CPU/MEM/IO",
			"Percent of the interval in which some task waited for a CPU, memory and block I/O.", 14, InTable|InWide,
			func(dst []byte, p *ResourcesPressure) []byte {
				if p.CpuSomePercent == nil && p.MemorySomePercent == nil && p.IoSomePercent == nil {
					return dst
				}
				dst = append(appendPercent(dst, p.CpuSomePercent), '/')
				dst = append(appendPercent(dst, p.MemorySomePercent), '/')
				return appendPercent(dst, p.IoSomePercent)
			}),
		amount((*Resources).GetPressure, "pressure.cpuSomeMicros", "PSI-CPU", Micros, 8, InJSON, "Time in which some "+
			"task waited for a CPU, since the container began, µs; null where the kernel has PSI switched off.",
			func(p *ResourcesPressure) *uint64 { return p.CpuSomeMicros }),
		amount((*Resources).GetPressure, "pressure.cpuSomePercent", "PSI-CPU%", Count, 4, InJSON,
			"The same in percent of the interval.", func(p *ResourcesPressure) *uint64 { return p.CpuSomePercent }),
		amount((*Resources).GetPressure, "pressure.memorySomeMicros", "PSI-MEM", Micros, 8, InJSON,
			"Time in which some task waited for memory, µs.",
			func(p *ResourcesPressure) *uint64 { return p.MemorySomeMicros }),
		amount((*Resources).GetPressure, "pressure.memorySomePercent", "PSI-MEM%", Count, 4, InJSON,
			"The same in percent of the interval.", func(p *ResourcesPressure) *uint64 { return p.MemorySomePercent }),
		amount((*Resources).GetPressure, "pressure.memoryFullMicros", "PSI-MEM-FULL", Micros, 8, InJSON,
			"Time in which all tasks waited for memory, µs.",
			func(p *ResourcesPressure) *uint64 { return p.MemoryFullMicros }),
		amount((*Resources).GetPressure, "pressure.memoryFullPercent", "PSI-MEM-FULL%", Count, 4, InJSON,
			"The same in percent of the interval.", func(p *ResourcesPressure) *uint64 { return p.MemoryFullPercent }),
		amount((*Resources).GetPressure, "pressure.ioSomeMicros", "PSI-IO", Micros, 8, InJSON,
			"Time in which some task waited for block I/O, µs.",
			func(p *ResourcesPressure) *uint64 { return p.IoSomeMicros }),
		amount((*Resources).GetPressure, "pressure.ioSomePercent", "PSI-IO%", Count, 4, InJSON,
			"The same in percent of the interval.", func(p *ResourcesPressure) *uint64 { return p.IoSomePercent }),
		amount((*Resources).GetPressure, "pressure.ioFullMicros", "PSI-IO-FULL", Micros, 8, InJSON,
			"Time in which all tasks waited for block I/O, µs.",
			func(p *ResourcesPressure) *uint64 { return p.IoFullMicros }),
		amount((*Resources).GetPressure, "pressure.ioFullPercent", "PSI-IO-FULL%", Count, 4, InJSON,
			"The same in percent of the interval.", func(p *ResourcesPressure) *uint64 { return p.IoFullPercent }),
	},
	[]Column{
		amount((*Resources).GetIo, "io.readRequests", "READS", Count, 6, InTable|InWide|InJSON,
			"Reads that block devices have done for the container, since the trace began; null where the kernel "+
				"charges none to it.", func(i *ResourcesIO) *uint64 { return i.ReadRequests }),
		amount((*Resources).GetIo, "io.readBytes", "READ-BYTES", Bytes, 7, InWide|InJSON, "Bytes of these.",
			func(i *ResourcesIO) *uint64 { return i.ReadBytes }),
		amount((*Resources).GetIo, "io.readMicros", "READ-TIME", Micros, 8, InJSON,
			"How long these took from their making to their end, summed, µs.",
			func(i *ResourcesIO) *uint64 { return i.ReadMicros }),
		amount((*Resources).GetIo, "io.readDeviceMicros", "READ-DEVICE", Micros, 8, InJSON,
			"Of that, how long the device had them, µs.",
			func(i *ResourcesIO) *uint64 { return i.ReadDeviceMicros }),
		amount((*Resources).GetIo, "io.readP50Nanos", "READ-P50", Nanos, 8, InWide|InJSON,
			"Median time of a read of the interval, ns, by a histogram of powers of two.",
			func(i *ResourcesIO) *uint64 { return i.ReadP50Nanos }),
		amount((*Resources).GetIo, "io.readP99Nanos", "READ-P99", Nanos, 8, InTable|InWide|InJSON,
			"99 % of the interval's reads took no longer, ns.",
			func(i *ResourcesIO) *uint64 { return i.ReadP99Nanos }),
		amount((*Resources).GetIo, "io.writeRequests", "WRITES", Count, 6, InTable|InWide|InJSON,
			"Writes that block devices have done for the container, since the trace began; null where the kernel "+
				"charges none to it.", func(i *ResourcesIO) *uint64 { return i.WriteRequests }),
		amount((*Resources).GetIo, "io.writeBytes", "WRITE-BYTES", Bytes, 7, InWide|InJSON, "Bytes of these.",
			func(i *ResourcesIO) *uint64 { return i.WriteBytes }),
		amount((*Resources).GetIo, "io.writeMicros", "WRITE-TIME", Micros, 8, InJSON,
			"How long these took from their making to their end, summed, µs.",
			func(i *ResourcesIO) *uint64 { return i.WriteMicros }),
		amount((*Resources).GetIo, "io.writeDeviceMicros", "WRITE-DEVICE", Micros, 8, InJSON,
			"Of that, how long the device had them, µs.",
			func(i *ResourcesIO) *uint64 { return i.WriteDeviceMicros }),
		amount((*Resources).GetIo, "io.writeP50Nanos", "WRITE-P50", Nanos, 8, InWide|InJSON,
			"Median time of a write of the interval, ns.",
			func(i *ResourcesIO) *uint64 { return i.WriteP50Nanos }),
		amount((*Resources).GetIo, "io.writeP99Nanos", "WRITE-P99", Nanos, 8, InTable|InWide|InJSON,
			"99 % of the interval's writes took no longer, ns.",
			func(i *ResourcesIO) *uint64 { return i.WriteP99Nanos }),

		amount((*Resources).GetNetwork, "network.listenOverflows", "ACCEPTQ-FULL", Count, 12, InWide|InJSON,
			"Packets of clients for which the accept queue of a listener in the pod had no room, since the pod began; "+
				"null for pods in the node's network.",
			func(n *ResourcesNetwork) *uint64 { return n.ListenOverflows }),
	},
)
