// Package report is what the test workload says about the traffic it made: one JSON object a line on its stdout. It is
// the ground truth that end-to-end tests hold a trace against.
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
	// Process: a process that was started has ended.
	Process = "process"
	// Syscalls: the system calls that were asked for are made; Start and End are around the blocked read.
	Syscalls = "syscalls"
	// Usage: CPU time or a disk was used, as much as stands there.
	Usage = "usage"
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
	// PID is the workload's own, in its own PID namespace; of a Process, that one's.
	PID    int            `json:"pid"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	// BytesSent and BytesReceived count payload.
	BytesSent     uint64 `json:"bytesSent"`
	BytesReceived uint64 `json:"bytesReceived"`
	// DatagramsSent and DatagramsReceived are of UDP.
	DatagramsSent     uint64 `json:"datagramsSent,omitempty"`
	DatagramsReceived uint64 `json:"datagramsReceived,omitempty"`
	// TCP is what this end's kernel counted, read when both ends had closed.
	TCP *TCPInfo `json:"tcp,omitempty"`

	// Sockets that are open, of a Holding.
	Sockets uint64 `json:"sockets,omitempty"`

	// Name that was asked for, of a DNS query; its Status is the RCODE.
	Name string `json:"name,omitempty"`
	// Status of a Process as wait(2) gives it.
	Status uint32 `json:"status,omitempty"`

	// UsedNs is CPU time; WaitedNs is how long threads waited for a CPU, or for a disk's answers.
	UsedNs   uint64 `json:"usedNs,omitempty"`
	WaitedNs uint64 `json:"waitedNs,omitempty"`

	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Performance is of a Load.
	Performance *Performance `json:"performance,omitempty"`
	Error       string       `json:"error,omitempty"`
}

// TCPInfo is the part of the kernel's struct tcp_info that a flow event shows, by the kernel's names.
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

// Performance is how well a load went.
type Performance struct {
	Requests uint64 `json:"requests,omitempty"`
	// BytesPerSecond is of payload, both ways.
	BytesPerSecond float64 `json:"bytesPerSecond,omitempty"`
	// Latencies of a request, its answer included, in µs.
	P50 float64 `json:"p50,omitempty"`
	P90 float64 `json:"p90,omitempty"`
	P99 float64 `json:"p99,omitempty"`
	Max float64 `json:"max,omitempty"`
}
