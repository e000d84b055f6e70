// Package exportconfig is the section export of the agents' configuration: agents read it, and install writes it. Its
// defaults and limits are here only.
package exportconfig

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event/otlp"
)

// Config is the section export of the agents' configuration. A missing field has its default.
type Config struct {
	// Endpoint is host:port for gRPC, a URL for HTTP.
	Endpoint string `json:"endpoint"`
	// Protocol is grpc or http.
	Protocol string `json:"protocol,omitempty"`
	TLS      TLS    `json:"tls,omitzero"`
	// HeadersFile has a line "name: value" for each header of a request.
	HeadersFile string `json:"headersFile,omitempty"`
	// Signals are what is exported: logs (events), metrics, or both.
	Signals []string `json:"signals,omitempty"`
	// MetricsInterval is the time between two snapshots of the metrics.
	MetricsInterval metav1.Duration `json:"metricsInterval,omitzero"`
	// Kinds are the JSON names of the exported kinds of events.
	Kinds []string `json:"kinds,omitempty"`
	// Updates is how long changes of a living flow may wait for a record, or "all".
	Updates Updates `json:"updates,omitempty"`
	// Resource is added to the attributes of the resource.
	Resource map[string]string `json:"resource,omitempty"`
	// QueueBytes limits the events that wait, and a snapshot of the metrics, BatchBytes a request before compression.
	QueueBytes Size `json:"queueBytes,omitempty"`
	BatchBytes Size `json:"batchBytes,omitempty"`
	// Timeout limits a request.
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// Compression is gzip or none.
	Compression string `json:"compression,omitempty"`
}

// Keys are the keys of Config, for an error. A test compares them.
const Keys = "endpoint, protocol, tls (insecure, caFile, certFile, keyFile, serverName), headersFile, signals, " +
	"metricsInterval, kinds, updates, resource, queueBytes, batchBytes, timeout, compression"

// TLS is how the connection is protected. Certificates of the collector are verified unless Insecure is set.
type TLS struct {
	// Insecure sends without TLS.
	Insecure bool `json:"insecure,omitempty"`
	// CAFile holds the authorities of the collector's certificate, CertFile and KeyFile the agent's certificate.
	CAFile   string `json:"caFile,omitempty"`
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
	// ServerName is the name in the collector's certificate, where it is not that of the endpoint.
	ServerName string `json:"serverName,omitempty"`
}

// Values of Config.Signals, Config.Protocol and Config.Compression.
const (
	SignalLogs      = "logs"
	SignalMetrics   = "metrics"
	ProtocolGRPC    = "grpc"
	ProtocolHTTP    = "http"
	CompressionGzip = "gzip"
	CompressionNone = "none"
)

// Defaults and limits.
const (
	defaultUpdates = Updates(5 * time.Minute)
	minUpdates     = Updates(10 * time.Second)
	maxUpdates     = Updates(24 * time.Hour)
	defaultQueue   = 4 << 20
	MinQueue       = 256 << 10
	maxQueue       = 1 << 30
	defaultBatch   = 512 << 10
	MinBatch       = 16 << 10
	// maxBatch: a collector's gRPC receiver takes 4 MiB by default.
	maxBatch       = 3 << 20
	defaultTimeout = 10 * time.Second
	MinTimeout     = 100 * time.Millisecond
	maxTimeout     = 5 * time.Minute
	// An agent samples most values every second; a series of Prometheus is stale after 5 minutes.
	defaultMetrics = time.Minute
	minMetrics     = 5 * time.Second
	maxMetrics     = time.Hour
	// Limits of Resource.
	maxResource      = 32
	maxResourceBytes = 1024
)

// DefaultKinds are exported unless a configuration says otherwise. Programs, signals and system calls are not among
// them, since their arguments may hold secrets; resources and gpu are samples, which belong into metrics.
func DefaultKinds() []string { return []string{"flow", "tcp", "dns", "drop"} }

// Attributes of the resource. ServiceInstance tells the agents' metrics apart.
const (
	ServiceVersion  = "service.version"
	ServiceInstance = "service.instance.id"
)

// OwnResource are the attributes of the resource that the agent sets.
func OwnResource() []string {
	return []string{otlp.Service, ServiceVersion, otlp.Node, ServiceInstance}
}

// AlwaysKinds are exported whatever a configuration says: they say how complete the others are.
func AlwaysKinds() []string { return []string{"lost", "nodeStatus"} }

// Complete sets the defaults. recorded are the kinds that the agent records.
func (c *Config) Complete(recorded []string) {
	if c.Protocol == "" {
		c.Protocol = ProtocolGRPC
	}
	if len(c.Signals) == 0 {
		c.Signals = []string{SignalLogs}
	}
	if c.MetricsInterval.Duration == 0 && c.Has(SignalMetrics) {
		c.MetricsInterval.Duration = defaultMetrics
	}
	if len(c.Kinds) == 0 {
		for _, kind := range DefaultKinds() {
			if slices.Contains(recorded, kind) {
				c.Kinds = append(c.Kinds, kind)
			}
		}
	}
	if c.Updates == 0 {
		c.Updates = defaultUpdates
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultQueue
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = min(defaultBatch, c.QueueBytes)
	}
	if c.Timeout.Duration == 0 {
		c.Timeout.Duration = defaultTimeout
	}
	if c.Compression == "" {
		c.Compression = CompressionGzip
	}
}

// Has reports whether a signal is exported; that of nil is false.
func (c *Config) Has(signal string) bool { return c != nil && slices.Contains(c.Signals, signal) }
