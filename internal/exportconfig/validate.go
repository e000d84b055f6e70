package exportconfig

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Error is a wrong value.
type Error struct {
	// Key is the dotted key of the configuration, "tls.caFile".
	Key string
	// Value is what it is, Want what it should be.
	Value, Want string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %.256q: want %s", e.Key, e.Value, e.Want) }

// Validate checks a complete configuration, and returns an *Error for the first wrong value. recorded are the kinds
// that the agent records.
func (c *Config) Validate(recorded []string) error {
	if err := c.validateEndpoint(); err != nil {
		return err
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if c.HeadersFile != "" && !filepath.IsAbs(c.HeadersFile) {
		return &Error{"headersFile", c.HeadersFile, "an absolute path"}
	}
	for i, signal := range c.Signals {
		if signal != SignalLogs && signal != SignalMetrics || slices.Contains(c.Signals[:i], signal) {
			return &Error{"signals", strings.Join(c.Signals, ","), "logs, metrics, or both"}
		}
	}
	for _, kind := range c.Kinds {
		if k := event.KindByName(kind); k == nil || k.Row || !slices.Contains(recorded, kind) {
			return &Error{"kinds", kind, "some of the recorded kinds, " + strings.Join(recorded, ", ")}
		}
	}
	return c.validateLimits()
}

func (c *Config) validateLimits() error {
	if u := c.Updates; u != UpdatesAll && (u < minUpdates || u > maxUpdates) {
		return &Error{"updates", u.String(), fmt.Sprintf("all, or %v to %v", minUpdates, maxUpdates)}
	}
	if d := c.MetricsInterval.Duration; !c.Has(SignalMetrics) {
		if d != 0 {
			return &Error{"metricsInterval", d.String(), "none, unless metrics are among the signals"}
		}
	} else if d < minMetrics || d > maxMetrics {
		return &Error{"metricsInterval", d.String(), fmt.Sprintf("%v to %v", minMetrics, maxMetrics)}
	}
	if c.QueueBytes < MinQueue || c.QueueBytes > maxQueue {
		return &Error{"queueBytes", c.QueueBytes.String(), "256Ki to 1Gi"}
	}
	if c.BatchBytes < MinBatch || c.BatchBytes > min(maxBatch, c.QueueBytes) {
		return &Error{"batchBytes", c.BatchBytes.String(), "16Ki to 3Mi, and no more than queueBytes"}
	}
	if d := c.Timeout.Duration; d < MinTimeout || d > maxTimeout {
		return &Error{"timeout", d.String(), fmt.Sprintf("%v to %v", MinTimeout, maxTimeout)}
	}
	if c.Compression != CompressionGzip && c.Compression != CompressionNone {
		return &Error{"compression", c.Compression, "gzip or none"}
	}
	return c.validateResource()
}

func (c *Config) validateEndpoint() error {
	switch c.Protocol {
	case ProtocolGRPC:
		host, port, err := net.SplitHostPort(c.Endpoint)
		n, wrong := strconv.ParseUint(port, 10, 16)
		if err != nil || wrong != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ \t\n") {
			return &Error{"endpoint", c.Endpoint, "host:port, as collector.monitoring:4317"}
		}
	case ProtocolHTTP:
		return c.validateURL()
	default:
		return &Error{"protocol", c.Protocol, "grpc or http"}
	}
	return nil
}

func (c *Config) validateURL() error {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" ||
		u.Fragment != "" {
		return &Error{"endpoint", c.Endpoint, "a URL, as https://collector.monitoring:4318"}
	}
	switch {
	case u.User != nil:
		return &Error{"endpoint", u.Redacted(), "a URL without credentials, which belong into the headers"}
	case u.Scheme == "http" && !c.TLS.Insecure:
		return &Error{"endpoint", c.Endpoint, "a URL that begins with https://, or insecure"}
	case u.Scheme == "https" && c.TLS.Insecure:
		return &Error{"endpoint", c.Endpoint, "a URL that begins with http://, or not insecure"}
	}
	return nil
}

func (t *TLS) validate() error {
	for _, file := range []struct{ key, name string }{
		{"tls.caFile", t.CAFile}, {"tls.certFile", t.CertFile}, {"tls.keyFile", t.KeyFile},
	} {
		switch {
		case file.name == "":
		case t.Insecure:
			return &Error{file.key, file.name, "none with tls.insecure"}
		case !filepath.IsAbs(file.name):
			return &Error{file.key, file.name, "an absolute path"}
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		return &Error{"tls.keyFile", "", "that of tls.certFile"}
	case t.CertFile == "" && t.KeyFile != "":
		return &Error{"tls.certFile", "", "that of tls.keyFile"}
	case t.Insecure && t.ServerName != "":
		return &Error{"tls.serverName", t.ServerName, "none with tls.insecure"}
	}
	return nil
}

func (c *Config) validateResource() error {
	if n := len(c.Resource); n > maxResource {
		return &Error{"resource", fmt.Sprintf("%d attributes", n), fmt.Sprintf("at most %d", maxResource)}
	}
	for name, value := range c.Resource {
		if name == "" || len(name)+len(value) > maxResourceBytes {
			return &Error{"resource", name, fmt.Sprintf("a name, and at most %d bytes with its value",
				maxResourceBytes)}
		}
		if slices.Contains(OwnResource(), name) {
			return &Error{"resource", name, "another name: the agent sets this one"}
		}
	}
	return nil
}
