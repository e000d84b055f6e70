package export

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Config is the section export of the agent's configuration. A missing field has its default.
type Config struct {
	// Endpoint is host:port for gRPC, a URL for HTTP.
	Endpoint string `json:"endpoint"`
	// Protocol is grpc or http.
	Protocol string `json:"protocol,omitempty"`
	TLS      TLS    `json:"tls,omitzero"`
	// HeadersFile has a line "name: value" for each header of a request.
	HeadersFile string `json:"headersFile,omitempty"`
	// Kinds are the JSON names of the exported kinds of events.
	Kinds []string `json:"kinds,omitempty"`
	// Updates is how long changes of a living flow may wait for a record, or "all".
	Updates Updates `json:"updates,omitempty"`
	// Resource is added to the attributes of the resource.
	Resource map[string]string `json:"resource,omitempty"`
	// QueueBytes limits the events that wait, BatchBytes a request before compression.
	QueueBytes Size `json:"queueBytes,omitempty"`
	BatchBytes Size `json:"batchBytes,omitempty"`
	// Timeout limits a request.
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// Compression is gzip or none.
	Compression string `json:"compression,omitempty"`
}

// Keys are the keys of Config, for an error. A test compares them.
const Keys = "endpoint, protocol, tls (insecure, caFile, certFile, keyFile, serverName), headersFile, kinds, " +
	"updates, resource, queueBytes, batchBytes, timeout, compression"

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

// Values of Config.Protocol and Config.Compression.
const (
	ProtocolGRPC    = "grpc"
	ProtocolHTTP    = "http"
	compressionGzip = "gzip"
	compressionNone = "none"
)

const (
	defaultUpdates = Updates(5 * time.Minute)
	minUpdates     = Updates(10 * time.Second)
	maxUpdates     = Updates(24 * time.Hour)
	defaultQueue   = 4 << 20
	minQueue       = 256 << 10
	maxQueue       = 1 << 30
	defaultBatch   = 512 << 10
	minBatch       = 16 << 10
	// maxBatch: a collector's gRPC receiver takes 4 MiB by default.
	maxBatch       = 3 << 20
	defaultTimeout = 10 * time.Second
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = 5 * time.Minute
	// Limits of Resource.
	maxResource      = 32
	maxResourceBytes = 1024
)

// DefaultKinds are exported unless a configuration says otherwise. Programs, signals and system calls are not among
// them, since their arguments may hold secrets; resources and gpu are samples, which belong into metrics.
func DefaultKinds() []string { return []string{"flow", "tcp", "dns", "drop"} }

// alwaysKinds are the kinds that say how complete the others are.
var alwaysKinds = []string{"lost", "nodeStatus"}

// Complete sets the defaults. recorded are the kinds that the agent records.
func (c *Config) Complete(recorded []string) {
	if c.Protocol == "" {
		c.Protocol = ProtocolGRPC
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
		c.Compression = compressionGzip
	}
}

// Validate checks a complete configuration. recorded are the kinds that the agent records. An error names the key, and
// what it takes.
func (c *Config) Validate(recorded []string) error {
	if err := c.validateEndpoint(); err != nil {
		return err
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if c.HeadersFile != "" && !filepath.IsAbs(c.HeadersFile) {
		return fmt.Errorf("headersFile: %q: want an absolute path", c.HeadersFile)
	}
	for _, kind := range c.Kinds {
		if k := event.KindByName(kind); k == nil || k.Row || !slices.Contains(recorded, kind) {
			return fmt.Errorf("kinds: %q is not recorded: want some of %s", kind, strings.Join(recorded, ", "))
		}
	}
	if u := c.Updates; u != UpdatesAll && (u < minUpdates || u > maxUpdates) {
		return fmt.Errorf("updates: %v: want all, or %v to %v", u, minUpdates, maxUpdates)
	}
	if c.QueueBytes < minQueue || c.QueueBytes > maxQueue {
		return fmt.Errorf("queueBytes: %d: want 256Ki to 1Gi", c.QueueBytes)
	}
	if c.BatchBytes < minBatch || c.BatchBytes > min(maxBatch, c.QueueBytes) {
		return fmt.Errorf("batchBytes: %d: want 16Ki to 3Mi, and no more than queueBytes", c.BatchBytes)
	}
	if d := c.Timeout.Duration; d < minTimeout || d > maxTimeout {
		return fmt.Errorf("timeout: %v: want %v to %v", d, minTimeout, maxTimeout)
	}
	if c.Compression != compressionGzip && c.Compression != compressionNone {
		return fmt.Errorf("compression: %q: want gzip or none", c.Compression)
	}
	return c.validateResource()
}

func (c *Config) validateEndpoint() error {
	switch c.Protocol {
	case ProtocolGRPC:
		host, port, err := net.SplitHostPort(c.Endpoint)
		n, wrong := strconv.ParseUint(port, 10, 16)
		if err != nil || wrong != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ \t\n") {
			return fmt.Errorf("endpoint: %q: want host:port, as collector.monitoring:4317", c.Endpoint)
		}
	case ProtocolHTTP:
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" ||
			u.Fragment != "" {
			return fmt.Errorf("endpoint: %q: want a URL, as https://collector.monitoring:4318", c.Endpoint)
		}
		switch {
		case u.User != nil:
			return fmt.Errorf("endpoint: %q has credentials: put them into headersFile", u.Redacted())
		case u.Scheme == "http" && !c.TLS.Insecure:
			return fmt.Errorf("endpoint: %q has no TLS: want https, or tls.insecure: true", c.Endpoint)
		case u.Scheme == "https" && c.TLS.Insecure:
			return fmt.Errorf("tls.insecure: true: want false, or an endpoint that begins with http://")
		}
	default:
		return fmt.Errorf("protocol: %q: want grpc or http", c.Protocol)
	}
	return nil
}

func (t *TLS) validate() error {
	for key, file := range map[string]string{"caFile": t.CAFile, "certFile": t.CertFile, "keyFile": t.KeyFile} {
		if file == "" {
			continue
		}
		if t.Insecure {
			return fmt.Errorf("tls.%s: %q: want none with tls.insecure", key, file)
		}
		if !filepath.IsAbs(file) {
			return fmt.Errorf("tls.%s: %q: want an absolute path", key, file)
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		return fmt.Errorf("tls.keyFile: missing: want that of tls.certFile")
	case t.CertFile == "" && t.KeyFile != "":
		return fmt.Errorf("tls.certFile: missing: want that of tls.keyFile")
	case t.Insecure && t.ServerName != "":
		return fmt.Errorf("tls.serverName: %q: want none with tls.insecure", t.ServerName)
	}
	return nil
}

func (c *Config) validateResource() error {
	if len(c.Resource) > maxResource {
		return fmt.Errorf("resource: %d attributes: want at most %d", len(c.Resource), maxResource)
	}
	for name, value := range c.Resource {
		if name == "" || len(name)+len(value) > maxResourceBytes {
			return fmt.Errorf("resource: %.64q: want a name, and at most %d bytes with its value", name,
				maxResourceBytes)
		}
		if slices.Contains(ownResource, name) {
			return fmt.Errorf("resource: %q: want another name: the agent sets this one", name)
		}
	}
	return nil
}

// Updates is the longest time from a change of a living flow to its record.
type Updates time.Duration

// UpdatesAll exports every update of a flow.
const UpdatesAll Updates = -1

// String is the value as a configuration has it.
func (u Updates) String() string {
	if u == UpdatesAll {
		return "all"
	}
	return time.Duration(u).String()
}

// MarshalJSON writes the value as a configuration has it.
func (u Updates) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// UnmarshalJSON reads "all" or a duration. What is less than a nanosecond is refused: 0 is the default.
func (u *Updates) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("updates: %s: want all, or a duration", text)
	}
	if s == "all" {
		*u = UpdatesAll
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("updates: %q: want all, or a duration", s)
	}
	*u = Updates(d)
	return nil
}

// Size is a number of bytes, written as a number or as 4Mi.
type Size int64

// UnmarshalJSON reads a quantity. 0 is refused: it is the default.
func (s *Size) UnmarshalJSON(text []byte) error {
	q, err := resource.ParseQuantity(strings.Trim(string(text), `"`))
	if err != nil || q.Value() <= 0 {
		return fmt.Errorf("queueBytes, batchBytes: %s: want a number of bytes such as 4Mi", text)
	}
	*s = Size(q.Value())
	return nil
}
