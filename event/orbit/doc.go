// Package orbit is the wire of persistent mode: the gRPC services of servers and agents, the version of their protocol,
// and who is at the other end of a connection.
//
// Plugin, server and agent share it. It and event/session are the only parts of event that import gRPC.
package orbit

import "time"

// Protocol is the version of the wire that this build speaks. It changes when an older peer would misread a newer one;
// fields that an older peer may ignore do not change it. MinProtocol is the oldest one that this build answers.
const (
	Protocol    = 1
	MinProtocol = 1
)

// Ports of the services.
const (
	// AgentPort serves Agent to servers.
	AgentPort = 9090
	// ServerPort serves OrbitService and Certificates.
	ServerPort = 8080
)

const (
	// ViewerSigner is the signerName of the CertificateSigningRequests of users.
	ViewerSigner = "orb8.dev/viewer"
	// TokenAudience is the audience of the service account tokens that servers accept: of agents, and of programs in
	// the cluster.
	TokenAudience = "orb8.dev/server"
	// MaxViewerLife is the longest life of a user's certificate.
	MaxViewerLife = time.Hour
	// AgentLife is the life of an agent's certificate, which it renews at two thirds of it.
	AgentLife = 24 * time.Hour
)

// Bounds of messages.
const (
	// MaxMessageBytes caps one decompressed gRPC message on either side.
	MaxMessageBytes = 4 << 20
	// MaxBatchEvents and MaxBatchBytes cap the events of one message.
	MaxBatchEvents = 1024
	MaxBatchBytes  = 1 << 20
	// MaxLast limits the events of a query for the newest.
	MaxLast = 100_000
)
