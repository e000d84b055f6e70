// Package session is the wire between a viewer and one node's tracer: the gRPC service, the protocol version, the
// pinned TLS identities of both ends, the ready line by which a tracer announces its key, and the compressor.
//
// It is shared by plugin and tracer, which must not import each other; it is the only part of event that knows gRPC.
package session

import "time"

// Protocol is the version of the wire that this build speaks. It changes when an older peer would misread a newer one;
// fields that an older peer may ignore do not change it.
const Protocol = 2

const (
	// HeartbeatInterval is how often a client sends a Heartbeat on Control.
	HeartbeatInterval = 1500 * time.Millisecond
	// HeartbeatTimeout is how long a tracer goes on without hearing from its authenticated client.
	HeartbeatTimeout = 6 * time.Second
	// FirstContactTimeout is how long a tracer waits for its client's first authenticated connection.
	FirstContactTimeout = 8 * time.Second

	// Port is where the tracer listens, on the loopback of its own network namespace only.
	Port = 9090

	// MaxMessageBytes caps one decompressed gRPC message on either side.
	MaxMessageBytes = 4 << 20
	// StreamWindow is the receive window of an HTTP/2 stream in bytes, for 20 MB/s over 100 ms. It is fixed: to adapt
	// it, gRPC would send a ping for each message, through kubelet and API server.
	StreamWindow = 2 << 20
	// ConnectionWindow is the receive window of a whole HTTP/2 connection in bytes.
	ConnectionWindow = 3 << 20
	// MaxBatchEvents is the most events in a batch. A viewer decodes no larger one.
	MaxBatchEvents = 1024
	// MaxBatchBytes is the most bytes of a batch, uncompressed. A viewer decodes no larger one.
	MaxBatchBytes = 1 << 20
)

// Environment of the tracer's container.
const (
	// EnvClientKey holds the client's public key as PublicKey.String prints it.
	EnvClientKey = "ORB8_CLIENT_KEY"
	// EnvNodeName holds the name of the node (downward API: spec.nodeName).
	EnvNodeName = "ORB8_NODE_NAME"
	// EnvCgroupRoot is where the host's cgroup hierarchy is mounted, read-only.
	EnvCgroupRoot = "ORB8_CGROUP_ROOT"
	// EnvConfig holds the Config of `orb8-tracer doctor`, as Config.Encode writes it. A session's is sent.
	EnvConfig = "ORB8_CONFIG"
)
