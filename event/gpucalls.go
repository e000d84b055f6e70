package event

import (
	"bytes"
	"strconv"
)

// CallsNotCounted begins the message of an event (what: unavailable) that is of the calls alone: the node's devices may
// be read nevertheless.
const CallsNotCounted = "calls are not counted"

// callNumber is a column of what a process has asked of the driver.
func callNumber(name, header string, t Type, doc string, get func(*GpuCalls) *uint64) Column {
	return gpuNumber((*Gpu).GetCalls, "cuda."+name, header, t, InJSON, doc, get)
}

// appendCalls appends the most telling of what a process has asked of the driver, all since it was first seen: "1200
// launches, 3.0Gi copied, 2.1s in sync".
func appendCalls(dst []byte, c *GpuCalls) []byte {
	if c.Launches != nil {
		dst = append(strconv.AppendUint(dst, c.GetLaunches()+c.GetGraphLaunches(), 10), " launches, "...)
	}
	if copied, known := c.Copied(); known {
		dst = append(AppendBytes(dst, copied), " copied, "...)
	}
	if c.SyncMicros != nil {
		dst = append(AppendMicros(dst, c.GetSyncMicros()), " in sync, "...)
	}
	if c.GetFailures() > 0 {
		dst = append(strconv.AppendUint(dst, c.GetFailures(), 10), " failed, "...)
	}
	return bytes.TrimSuffix(dst, []byte(", "))
}

// Copied is how many bytes were copied, whichever way; known is false where no way is known.
func (c *GpuCalls) Copied() (n uint64, known bool) {
	for _, way := range []*uint64{c.HostToDeviceBytes, c.DeviceToHostBytes, c.DeviceToDeviceBytes, c.OtherBytes} {
		if way != nil {
			n, known = n+*way, true
		}
	}
	return n, known
}

// callColumns are what gpu adds of the calls of a process, and of one that failed.
var callColumns = []Column{
	callNumber("launches", "LAUNCHES", Count,
		"Kernels launched, one by one; null once their probes were taken off for what they cost.",
		func(c *GpuCalls) *uint64 { return c.Launches }),
	callNumber("graphLaunches", "GRAPHS", Count, "CUDA graphs launched, each with any number of kernels.",
		func(c *GpuCalls) *uint64 { return c.GraphLaunches }),
	callNumber("copies", "COPIES", Count, "Copies asked for; a batch of them is one.",
		func(c *GpuCalls) *uint64 { return c.Copies }),
	callNumber("hostToDeviceBytes", "HTOD", Bytes, "Bytes of copies from host memory to the device.",
		func(c *GpuCalls) *uint64 { return c.HostToDeviceBytes }),
	callNumber("deviceToHostBytes", "DTOH", Bytes, "Bytes of copies from the device to host memory.",
		func(c *GpuCalls) *uint64 { return c.DeviceToHostBytes }),
	callNumber("deviceToDeviceBytes", "DTOD", Bytes, "Bytes of copies within a device or between devices.",
		func(c *GpuCalls) *uint64 { return c.DeviceToDeviceBytes }),
	callNumber("otherBytes", "COPY-OTHER", Bytes, "Bytes of copies of which the call does not say which way they go "+
		"(cuMemcpy, cuMemcpyAsync, cuMemcpyBatchAsync).", func(c *GpuCalls) *uint64 { return c.OtherBytes }),
	callNumber("copyMicros", "COPY-TIME", Micros,
		"Host time that threads spent in calls that copy, µs, over all threads.",
		func(c *GpuCalls) *uint64 { return c.CopyMicros }),
	callNumber("syncs", "SYNCS", Count, "Synchronisations with the device: of the context, a stream or an event.",
		func(c *GpuCalls) *uint64 { return c.Syncs }),
	callNumber("syncMicros", "SYNC-TIME", Micros, "Host time that threads were blocked in them, µs, over all "+
		"threads, those that have not returned included. It is no time of the GPU's.",
		func(c *GpuCalls) *uint64 { return c.SyncMicros }),
	callNumber("waitingMicros", "WAITING", Micros,
		"How long the longest synchronisation that has not returned yet has lasted, µs; null where none is going on.",
		func(c *GpuCalls) *uint64 { return c.WaitingMicros }),
	callNumber("allocations", "ALLOCS", Count, "Allocations of device memory that succeeded.",
		func(c *GpuCalls) *uint64 { return c.Allocations }),
	callNumber("frees", "FREES", Count, "Frees of device memory.", func(c *GpuCalls) *uint64 { return c.Frees }),
	callNumber("allocatedBytes", "ALLOCATED-BYTES", Bytes, "Bytes of all allocations that succeeded.",
		func(c *GpuCalls) *uint64 { return c.AllocatedBytes }),
	callNumber("outstandingBytes", "OUTSTANDING", Bytes,
		"Of them, not freed yet. null of a process that began before the trace: what it held then is not known.",
		func(c *GpuCalls) *uint64 { return c.OutstandingBytes }),
	callNumber("failures", "FAILURES", Count, "Copies, synchronisations and allocations that returned an error.",
		func(c *GpuCalls) *uint64 { return c.Failures }),
	callNumber("collectives", "COLLECTIVES", Count,
		"Operations asked of NCCL; null where no NCCL was found in the process.",
		func(c *GpuCalls) *uint64 { return c.Collectives }),
	{
		Name: "cuda.since", Header: "SINCE", Type: Timestamp, Outputs: InJSON, Doc: "When counting began.",
		Get: func(ev *Event) Value {
			if c := ev.GetGpu().GetCalls(); c.GetSince() != 0 {
				return Time(c.GetSince())
			}
			return Value{}
		},
	},
	gpuText((*Gpu).GetFailure, "failure.call", "CALL", 20, InJSON,
		"Function of the driver's library that returned an error.", (*GpuFailure).GetCall),
	gpuNumber((*Gpu).GetFailure, "failure.code", "CODE", Number, InJSON, "The error (CUresult): 2 is out of memory.",
		func(f *GpuFailure) *uint32 { return &f.Code }),
	gpuNumber((*Gpu).GetFailure, "failure.bytes", "BYTES", Bytes, InJSON, "What the call was to allocate or copy.",
		func(f *GpuFailure) *uint64 { return f.Bytes }),
}
