package main

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// maxText bounds text and bytes, in bytes: names of Kubernetes, DNS names with escapes and paths are shorter.
	maxText = 4096
	// maxLong bounds text that lists many things, or quotes what a program was given.
	maxLong = 64 << 10
	// maxCount bounds amounts, so that the sum of two is no overflow.
	maxCount = 1 << 62
	// maxMicros bounds durations in µs: time.Duration holds as much.
	maxMicros = (1<<63 - 1) / 1000
	maxPort   = 1<<16 - 1
	// maxFloat bounds numbers with decimals: a float64 is exact up to there.
	maxFloat = 1 << 53
	// maxList bounds lists: histograms of powers of two are shorter.
	maxList = 64
)

// longLists are lists with another bound than maxList.
var longLists = map[protoreflect.FullName]int{
	"orb8.event.v1.ResponseTimes.histogram": event.ResponseBuckets,
}

// longText are the fields that maxLong bounds.
var longText = map[protoreflect.FullName]bool{
	"orb8.event.v1.Dns.answers":      true,
	"orb8.event.v1.Exec.args":        true,
	"orb8.event.v1.Syscall.args":     true,
	"orb8.event.v1.Gpu.used_by":      true,
	"orb8.event.v1.Gpu.allocated_to": true,
}

// otherText are the fields with a bound of their own, bytes.
var otherText = map[protoreflect.FullName]int{
	"orb8.event.v1.Packet.data": event.MaxPacketBytes,
}

// anyNumber are the numbers that are identities or wrap around by themselves: each value is one.
var anyNumber = map[protoreflect.FullName]bool{
	"orb8.event.v1.Flow.src_isn":               true,
	"orb8.event.v1.Flow.dst_isn":               true,
	"orb8.event.v1.Flow.socket_cookie":         true,
	"orb8.event.v1.Tcp.socket_cookie":          true,
	"orb8.event.v1.SyscallSummary.total_nanos": true,
}

// cpuTime are durations that many threads spend together: a machine of 1,000 CPUs reaches maxMicros within months.
var cpuTime = map[protoreflect.FullName]bool{
	"orb8.event.v1.ResourcesCPU.micros":            true,
	"orb8.event.v1.ResourcesCPU.throttled_micros":  true,
	"orb8.event.v1.ResourcesRunQueue.delay_micros": true,
	"orb8.event.v1.ResourcesLocks.waited_micros":   true,
	"orb8.event.v1.ResourcesIO.read_micros":        true,
	"orb8.event.v1.ResourcesIO.write_micros":       true,
	"orb8.event.v1.GpuCalls.copy_micros":           true,
	"orb8.event.v1.GpuCalls.sync_micros":           true,
}
