package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/refusals"
)

// metricsAgent is an agent with no probes, which serves metrics by plain HTTP to everyone.
func metricsAgent(t *testing.T) *agent {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	rolling, err := history.OpenRolling(history.RollingOptions{MemoryBytes: 1 << 20, Node: "n1", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rolling.Close() })
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &agent{
		Options: Options{Node: "n1", Version: "v1", Release: "6.8", Log: log, Metrics: MetricsOptions{Listener: l,
			Expiry: func() uint64 { return 5e9 }}},
		history: rolling, refused: refusals.New(log), export: export.New(export.Options{Node: "n1", Log: log}),
		table: metrics.NewTable(metrics.Options{}), started: time.Unix(1000, 0),
	}
}

func TestAgent_ServesMetrics(t *testing.T) {
	a := metricsAgent(t)
	a.configError = "wrong"
	a.warn("one")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.serveMetrics(ctx) }()
	url := "http://" + a.Metrics.Listener.Addr().String() + "/metrics"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	for _, line := range []string{
		`orb8_agent_info{kernel="6.8",version="v1"} 1`, "orb8_agent_observing 0", "orb8_agent_config_error 1",
		"orb8_agent_warnings 1", "orb8_agent_certificate_expiry_timestamp_seconds 5", "process_start_time_seconds 1000",
		"orb8_history_events 0",
	} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("no line %s in:\n%s", line, text)
		}
	}
	if strings.Contains(string(text), "\norb8_export_") {
		t.Error("an export that is off is in the metrics")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A configuration of metrics takes effect at once, and one that asks for what the agent may not do warns.
func TestAgent_AppliesMetricsConfig(t *testing.T) {
	a := metricsAgent(t)
	a.applyMetrics(MetricsConfig{MaxSeries: 2000})
	if s := a.metricsStatus(); s.ProgramsTimed || s.Warnings > 0 {
		t.Errorf("%+v without probeCost", s)
	}
	a.applyMetrics(MetricsConfig{ProbeCost: true})
	// As root the kernel counts now, and otherwise the agent says why it does not.
	if s := a.metricsStatus(); s.ProgramsTimed == (s.Warnings > 0) {
		t.Errorf("%+v with probeCost", s)
	}
	a.applyMetrics(MetricsConfig{})
	if s := a.metricsStatus(); s.ProgramsTimed {
		t.Error("the kernel counts after probeCost was switched off")
	}
}
