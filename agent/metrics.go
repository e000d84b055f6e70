package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/scrape"
)

// MetricsConfig configures the metrics.
type MetricsConfig struct {
	// Pods adds the label pod to the metrics of workloads.
	Pods bool `json:"pods,omitempty"`
	// PeerAddresses makes the label peer the address of a flow's other end, of at most TopPeers for each workload.
	PeerAddresses bool `json:"peerAddresses,omitempty"`
	TopPeers      int  `json:"topPeers,omitempty"`
	// MaxSeries bounds the series.
	MaxSeries int `json:"maxSeries,omitempty"`
	// DCGMCompat adds metrics with the names of dcgm-exporter.
	DCGMCompat bool `json:"dcgmCompat,omitempty"`
	// ProbeCost makes the kernel count how long each BPF program on the node runs.
	ProbeCost bool `json:"probeCost,omitempty"`
}

const metricsKeys = "pods, peerAddresses, topPeers, maxSeries, dcgmCompat, probeCost"

// Bounds of MetricsConfig.
const (
	minSeries, maxSeries = 1000, 200_000
	maxTopPeers          = 1000
)

func (c *MetricsConfig) validate() error {
	switch {
	case c.MaxSeries != 0 && (c.MaxSeries < minSeries || c.MaxSeries > maxSeries):
		return fmt.Errorf("maxSeries: %d: want %d to %d", c.MaxSeries, minSeries, maxSeries)
	case c.TopPeers < 0 || c.TopPeers > maxTopPeers:
		return fmt.Errorf("topPeers: %d: want 1 to %d", c.TopPeers, maxTopPeers)
	}
	return nil
}

// MetricsOptions are those of the port for Prometheus. Without a Listener there is none.
type MetricsOptions struct {
	// Listener is closed when Run returns.
	Listener net.Listener
	scrape.Options
	// Expiry is when the agent's certificate ends, ns since the Unix epoch; 0: there is none. It may be nil.
	Expiry func() uint64
}

// newRegistry returns the registry of the agent's metrics, which Prometheus scrapes and the export sends, and the
// server for Prometheus; nil: there is no port for it.
func (a *agent) newRegistry() (server *scrape.Server, registry *prometheus.Registry, err error) {
	var requests func() map[int]uint64
	if a.Metrics.Listener != nil {
		o := a.Metrics.Options
		o.Log = cmp.Or(o.Log, a.Log)
		server = scrape.New(o)
		requests = server.Requests
	}
	registry = prometheus.NewRegistry()
	return server, registry, registry.Register(metrics.NewCollector(a.table, a.metricsStatus, requests))
}

// applyMetrics puts a configuration in force. The agent's lock is held.
func (a *agent) applyMetrics(c MetricsConfig) {
	a.table.Configure(metrics.Options{Pods: c.Pods, PeerAddresses: c.PeerAddresses, TopPeers: c.TopPeers,
		MaxSeries: c.MaxSeries, DCGMCompat: c.DCGMCompat})
	if c.ProbeCost == a.probeCost {
		return
	}
	a.probeCost = c.ProbeCost
	a.stopCounting()
	if !c.ProbeCost {
		return
	}
	counting, err := bpf.CountCost()
	switch {
	case errors.Is(err, fs.ErrPermission):
		a.warnings = appendWarning(a.warnings, "metrics.probeCost: the agent lacks CAP_SYS_ADMIN: install it "+
			"privileged, or set the node's kernel.bpf_stats_enabled")
	case err != nil:
		a.warnings = appendWarning(a.warnings, fmt.Sprintf("metrics.probeCost: %v", err))
	default:
		a.counting = counting
	}
}

// stopCounting ends what applyMetrics began. The agent's lock is held, or nobody else uses it.
func (a *agent) stopCounting() {
	if a.counting != nil {
		_ = a.counting.Close() // a file descriptor, which the kernel closes in any case
	}
	a.counting = nil
}

// counter is a file descriptor that makes the kernel count.
type counter = io.Closer

// reasonsOf returns what was lost by its reasons.
func reasonsOf(t *export.Totals) map[string]uint64 {
	by := map[string]uint64{}
	for reason, n := range t.LostBy {
		by[export.Reason(reason).String()] = n
	}
	return by
}

// metricsStatus is the state of the agent for its metrics.
func (a *agent) metricsStatus() metrics.Status {
	kept := a.history.Status()
	s := metrics.Status{
		Version: a.Version, Kernel: a.Release, CPUMicros: cpuMicros(), MemoryBytes: residentBytes(),
		Started: uint64(a.started.UnixNano()), Observing: a.observing.Load(), Refused: a.refused.Count(),
		HistoryEvents: kept.Events, HistoryBytes: uint64(kept.Bytes), HistoryMaximum: uint64(kept.LimitBytes),
		HistoryOldest: kept.Oldest,
	}
	if a.Metrics.Expiry != nil {
		s.CertificateExpiry = a.Metrics.Expiry()
	}
	a.mu.Lock()
	s.ConfigError, s.Warnings, s.ProgramsTimed = a.configError != "", len(a.warnings), a.counting != nil
	a.mu.Unlock()
	if e := a.export.Status(); e.Queued+e.Points.Queued > 0 || e.Endpoint != "" {
		s.Export = &metrics.Export{Sent: e.Sent, QueueBytes: e.QueueBytes, LimitBytes: e.LimitBytes,
			Failing: e.Error != "", Lost: reasonsOf(&e.Totals), SentPoints: e.Points.Sent,
			FailingPoints: e.Points.Error != "", LostPoints: reasonsOf(&e.Points)}
	}
	o := a.observer.Load()
	if o == nil {
		return s
	}
	s.ProgramsLoaded = a.loaded.Load()
	for _, c := range o.Costs() {
		s.Programs = append(s.Programs, metrics.Program{Probe: c.Kind, Name: c.Name, RunNanos: uint64(c.Ran),
			Runs: c.Runs, Instructions: c.Instructions})
		s.ProgramsTimed = s.ProgramsTimed || c.Runs > 0 // the node's own setting
	}
	return s
}
