//go:build linux

package tracer

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

// maxFlows returns the number of flows of unconnected sockets that the flow probe keeps, for each of IPv4 and IPv6: the
// client's number if set, else the number that fits into the memory limit; 0, the probe's default, without a limit.
func maxFlows(asked uint32, limit int64) uint32 {
	if asked != 0 || limit == 0 {
		return asked
	}
	return uint32(min(max((limit-fixedBytes)/bytesPerFlow, fewestFlows), mostFlows))
}
