package agent

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// Config is the configuration file of agents, in YAML. A missing field has its default.
type Config struct {
	// Kinds are the JSON names of the recorded kinds of events.
	Kinds []string `json:"kinds,omitempty"`
	// Interval is the time between two updates of a flow, and two samples of counters.
	Interval metav1.Duration `json:"interval,omitempty"`
	// DNSPorts are the ports that DNS is spoken on.
	DNSPorts []uint32 `json:"dnsPorts,omitempty"`
	// Syscalls selects system calls, which are recorded only if Kinds contains syscall or syscallSummary.
	Syscalls SyscallConfig `json:"syscalls,omitzero"`
	// ExcludeNamespaces are not observed.
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`
	// Export sends events to an OpenTelemetry collector; nil: off.
	Export *exportconfig.Config `json:"export,omitempty"`
	// Metrics are those for Prometheus.
	Metrics MetricsConfig `json:"metrics,omitzero"`
}

// SyscallConfig selects system calls.
type SyscallConfig struct {
	// Names of calls; none: all.
	Names []string `json:"names,omitempty"`
	// ErrorsOnly leaves out calls that succeed, MinDuration those that are shorter.
	ErrorsOnly  bool            `json:"errorsOnly,omitempty"`
	MinDuration metav1.Duration `json:"minDuration,omitempty"`
}

// DefaultKinds are recorded unless a configuration says otherwise. Programs and system calls are not among them, since
// their arguments may hold secrets.
var defaultKinds = []string{"flow", "tcp", "dns", "drop", "resources", "gpu"}

const (
	defaultInterval = time.Second
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Minute
	maxDNSPorts     = 16
	// maxConfig limits the size of the file: a ConfigMap's, bytes.
	maxConfig = 1 << 20
)

// defaultConfig is the configuration without a file.
func defaultConfig() *Config {
	c := &Config{}
	c.complete()
	return c
}

func (c *Config) complete() {
	if len(c.Kinds) == 0 {
		c.Kinds = slices.Clone(defaultKinds)
	}
	if c.Interval.Duration == 0 {
		c.Interval.Duration = defaultInterval
	}
	if len(c.DNSPorts) == 0 {
		c.DNSPorts = []uint32{53}
	}
	if c.Export != nil {
		c.Export.Complete(c.Kinds)
	}
}

// parseConfig reads a configuration. known are the kinds of this build. An error names the key, and what it takes.
func parseConfig(text []byte, known []string) (*Config, error) {
	c := &Config{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("%s: known keys are kinds, interval, dnsPorts, syscalls, excludeNamespaces, "+
			"export, metrics; "+
			"of export: "+exportconfig.Keys+"; of metrics: "+metricsKeys,
			strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "),
				"error unmarshaling JSON: while decoding JSON: "))
	}
	c.complete()
	for _, kind := range c.Kinds {
		if !slices.Contains(known, kind) {
			return nil, fmt.Errorf("kinds: %q: want some of %s", kind, strings.Join(known, ", "))
		}
	}
	if d := c.Interval.Duration; d < minInterval || d > maxInterval {
		return nil, fmt.Errorf("interval: %v: want %v to %v", d, minInterval, maxInterval)
	}
	if len(c.DNSPorts) > maxDNSPorts {
		return nil, fmt.Errorf("dnsPorts: %d ports: want at most %d", len(c.DNSPorts), maxDNSPorts)
	}
	for _, port := range c.DNSPorts {
		if port == 0 || port > math.MaxUint16 {
			return nil, fmt.Errorf("dnsPorts: %d: want 1 to %d", port, math.MaxUint16)
		}
	}
	if c.Syscalls.MinDuration.Duration < 0 {
		return nil, fmt.Errorf("syscalls.minDuration: %v: want 0 or more", c.Syscalls.MinDuration.Duration)
	}
	if err := c.Metrics.validate(); err != nil {
		return nil, fmt.Errorf("metrics.%w", err)
	}
	if c.Export != nil {
		if err := c.Export.Validate(c.Kinds); err != nil {
			return nil, fmt.Errorf("export.%w", err)
		}
	}
	return c, nil
}

// readConfig reads the file. Without one it returns the default.
func readConfig(path string, known []string) (*Config, error) {
	text, err := os.ReadFile(path)
	if path == "" || errors.Is(err, os.ErrNotExist) {
		return defaultConfig(), nil
	}
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), maxConfig)
	}
	return parseConfig(text, known)
}

// session is the configuration of the probes.
func (c *Config) session() *session.Config {
	return &session.Config{
		Kinds: c.Kinds, Interval: int64(c.Interval.Duration), DnsPorts: c.DNSPorts, Gpu: &session.GpuConfig{},
		Syscall: &session.SyscallConfig{Names: c.Syscalls.Names, ErrorsOnly: c.Syscalls.ErrorsOnly,
			MinDuration: int64(c.Syscalls.MinDuration.Duration)},
	}
}

// equal reports whether two configurations observe the same. What is done with the events may differ.
func (c *Config) equal(d *Config) bool {
	a, b := *c, *d
	a.Export, b.Export, a.Metrics, b.Metrics = nil, nil, MetricsConfig{}, MetricsConfig{}
	return reflect.DeepEqual(a, b)
}
