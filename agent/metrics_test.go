package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/event"
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
	scrapes, registry, err := a.newRegistry()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- scrapes.Serve(ctx, a.Metrics.Listener, registry) }()
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

// TestAgent_ExportsItsMetrics sends the registry of an agent that has no port for Prometheus.
func TestAgent_ExportsItsMetrics(t *testing.T) {
	a := metricsAgent(t)
	_ = a.Metrics.Listener.Close()
	a.Metrics.Listener = nil
	query, err := proto.Marshal(&event.Event{Namespace: "shop", Pod: "web-0", PodUid: "u", Workload: "deploy/web",
		Kind: &event.Event_Dns{Dns: &event.Dns{Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Rcode: "NOERROR",
			LatencyMicros: new(uint64(9))}}})
	if err != nil {
		t.Fatal(err)
	}
	a.table.Observe([][]byte{query})
	scrapes, registry, err := a.newRegistry()
	if err != nil || scrapes != nil {
		t.Fatalf("server %v, %v", scrapes, err)
	}
	a.export = export.New(export.Options{Node: "n1", Metrics: registry, Log: a.Log})
	received := make(chan *metricspb.MetricsData, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		data := &metricspb.MetricsData{}
		if err := proto.Unmarshal(body, data); err != nil {
			t.Error(err)
		}
		select {
		case received <- data:
		default: // the one at the end
		}
	}))
	defer collector.Close()
	config, err := parseConfig([]byte("export: {endpoint: '"+collector.URL+"', protocol: http, compression: none, "+
		"tls: {insecure: true}, signals: [metrics]}"), []string{"flow", "tcp", "dns", "drop", "resources", "gpu"})
	if err != nil {
		t.Fatal(err)
	}
	a.export.Apply(config.Export)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.export.Run(ctx) })
	got := map[string]*metricspb.Metric{}
	for _, m := range (<-received).GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		got[m.GetName()] = m
	}
	stop()
	running.Wait()
	info := got["orb8_agent_info"].GetGauge().GetDataPoints()
	latency := got["orb8_dns_latency_seconds"].GetExponentialHistogram().GetDataPoints()
	cpu := got["process_cpu_seconds_total"].GetSum().GetDataPoints()
	if len(info) != 1 || len(latency) != 1 || latency[0].GetCount() != 1 || len(cpu) != 1 ||
		cpu[0].GetStartTimeUnixNano() != 1000e9 || got["process_cpu_seconds_total"].GetUnit() != "s" {
		t.Errorf("%v", got)
	}
	if s := a.export.Status().Points; s.Lost != 0 || s.Sent != s.Queued || s.Sent < 20 {
		t.Errorf("%+v", s)
	}
	if s := a.metricsStatus().Export; s == nil || s.SentPoints < 20 || s.FailingPoints ||
		s.LostPoints["replaced"] != 0 {
		t.Errorf("%+v", s)
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
