//go:build linux

package tracer

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// fixedBytes is the memory of a tracer without the tables that grow with its limit: its heap and other maps.
	fixedBytes = 32 << 20
	// bytesPerFlow divides the rest of the memory limit into flows. The kernel keeps 192 bytes for a flow of IPv4 and
	// 256 for one of IPv6, and each table has a quarter more places than flows (bpf.ShareOf): together they take at
	// most 5/16 of the rest.
	bytesPerFlow = 1792
	// mostFlows fit into the default memory limit of 256 MiB.
	mostFlows = 1 << 17
	// fewestFlows are kept with any memory limit.
	fewestFlows = 4096
)

const (
	// fastInterval is an interval below which each scan's changes have a larger ring buffer, of fastRing bytes. All
	// come within some 10 ms, and those of more than 12,000 sockets of one pod wait for the next scan where the ring
	// has the 4 MiB of others.
	fastInterval = 400 * time.Millisecond
	fastRing     = 16 << 20
	// fastRingMemory is the least memory limit for that.
	fastRingMemory = 256 << 20
)

// flowRing returns the bytes of the flow probe's ring buffer: the client's number if set; 0: the probe's default.
func flowRing(c *session.Config, limit int64) uint32 {
	interval := time.Duration(c.GetInterval())
	if asked := c.GetRingBytes(); asked != 0 || interval == 0 || interval >= fastInterval {
		return asked
	}
	if limit != 0 && limit < fastRingMemory {
		return 0
	}
	return fastRing
}

// maxFlows returns the number of flows of unconnected sockets that the flow probe keeps, for each of IPv4 and IPv6: the
// client's number if set, else the number that fits into the memory limit; 0, the probe's default, without a limit.
func maxFlows(asked uint32, limit int64) uint32 {
	if asked != 0 || limit == 0 {
		return asked
	}
	return uint32(min(max((limit-fixedBytes)/bytesPerFlow, fewestFlows), mostFlows))
}
