//go:build linux

package tracer

const (
	// fixedBytes is what a tracer takes beside the tables that grow with its memory limit: its heap and other maps.
	fixedBytes = 32 << 20
	// bytesPerFlow divides the rest of the memory limit into flows. The kernel keeps 192 bytes for a flow of IPv4 and
	// 256 for one of IPv6, and each table has a quarter more places than flows (bpf.ShareOf): together they take at
	// most 5/16 of the rest.
	bytesPerFlow = 1792
	// mostFlows is what the default memory limit of 256 MiB has room for.
	mostFlows = 1 << 17
	// fewestFlows are kept however small the memory limit is.
	fewestFlows = 4096
)

// maxFlows is how many flows of unconnected sockets the flow probe keeps, of IPv4 and of IPv6 each: as many as the
// client asks for, else what a memory limit has room for; 0, the probe's default, without a limit.
func maxFlows(asked uint32, limit int64) uint32 {
	if asked != 0 || limit == 0 {
		return asked
	}
	return uint32(min(max((limit-fixedBytes)/bytesPerFlow, fewestFlows), mostFlows))
}
