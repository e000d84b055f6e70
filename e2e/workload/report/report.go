// Package report defines the reports of the test workload: one JSON object a line on its stdout. End-to-end tests
// compare a trace with them.
package report

import (
	"net/netip"
	"time"
)

// Kinds of a Report.
const (
	// Listening: a server is ready.
	Listening = "listening"
	// Holding: a connection is made and half used; the client goes on when it reads a line on stdin.
	Holding = "holding"
	// Conversation: a connection or an exchange of datagrams is over, and its counters are final.
	Conversation = "conversation"
	// Load: a request-response or bulk load is over.
	Load = "load"
	// Process: a child process has ended.
	Process = "process"
	// Syscalls: all system calls are made; Start and End are around the blocked read.
	Syscalls = "syscalls"
	// Usage: CPU time (UsedNs, WaitedNs) or a disk (BytesSent, BytesReceived, WaitedNs) was used.
	Usage = "usage"
	// Calls: the calls to dependencies that ended between Start and End, by target.
	Calls = "calls"
)

// Report is one line.
type Report struct {
	Kind string `json:"kind"`
	// Side is "client" or "server".
	Side string `json:"side,omitempty"`
	// Protocol is "tcp" or "udp".
	Protocol string `json:"protocol,omitempty"`
	// Run is the number that the client was given to mark its traffic; the server repeats it.
	Run uint64 `json:"run,omitempty"`
	// PID is the workload's own, in its own PID namespace; in a Process, the child's.
	PID    int            `json:"pid"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	// BytesSent and BytesReceived count payload.
	BytesSent     uint64 `json:"bytesSent"`
	BytesReceived uint64 `json:"bytesReceived"`
	// DatagramsSent and DatagramsReceived count UDP datagrams.
	DatagramsSent     uint64 `json:"datagramsSent,omitempty"`
	DatagramsReceived uint64 `json:"datagramsReceived,omitempty"`
	// TCP holds the counters of this end's kernel, read after both ends have closed.
	TCP *TCPInfo `json:"tcp,omitempty"`

	// Sockets is the number of open sockets, in a Holding.
	Sockets uint64 `json:"sockets,omitempty"`

	// Name is the name in a DNS query.
	Name string `json:"name,omitempty"`
	// Status is the RCODE of a DNS query, or the wait status of a Process (wait(2)).
	Status uint32 `json:"status,omitempty"`

	// UsedNs is CPU time; WaitedNs is the time that threads waited for a CPU or for a disk.
	UsedNs   uint64 `json:"usedNs,omitempty"`
	WaitedNs uint64 `json:"waitedNs,omitempty"`

	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Performance is set in a Load.
	Performance *Performance `json:"performance,omitempty"`
	// Calls has one element for each target, in a report of this kind.
	Calls []Target `json:"calls,omitempty"`
	Error string   `json:"error,omitempty"`
}

// Target holds the calls to one dependency.
type Target struct {
	// URL is the dependency's.
	URL string `json:"url"`
	// Performance counts all calls, also those that failed.
	Performance Performance `json:"performance"`
	// Errors is the number of failed calls by error: the name of an errno (ECONNREFUSED), NXDOMAIN, "DNS timeout",
	// "timeout", EOF, or a status of HTTP ("HTTP 503").
	Errors map[string]uint64 `json:"errors,omitempty"`
}

// TCPInfo holds the fields of the kernel's struct tcp_info that a flow event shows, under the kernel's names.
type TCPInfo struct {
	State         uint8  `json:"state"`
	SegsOut       uint32 `json:"segsOut"`
	SegsIn        uint32 `json:"segsIn"`
	DataSegsOut   uint32 `json:"dataSegsOut"`
	DataSegsIn    uint32 `json:"dataSegsIn"`
	TotalRetrans  uint32 `json:"totalRetrans"`
	BytesSent     uint64 `json:"bytesSent"`
	BytesAcked    uint64 `json:"bytesAcked"`
	BytesReceived uint64 `json:"bytesReceived"`
	BytesRetrans  uint64 `json:"bytesRetrans"`
	// RTT is smoothed, in µs.
	RTT uint32 `json:"rtt"`
}

// Performance holds the results of a load.
type Performance struct {
	Requests uint64 `json:"requests,omitempty"`
	// BytesPerSecond counts payload in both directions.
	BytesPerSecond float64 `json:"bytesPerSecond,omitempty"`
	// P50 to Max are latencies in µs, from a request to the end of its answer.
	P50 float64 `json:"p50,omitempty"`
	P90 float64 `json:"p90,omitempty"`
	P99 float64 `json:"p99,omitempty"`
	Max float64 `json:"max,omitempty"`
}
