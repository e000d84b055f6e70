package stores

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// sink is what a collector sends metrics on to. It keeps the newest value of each series.
type sink struct {
	url string

	mu       sync.Mutex
	values   map[string]float64 // by name and labels; of histograms the count
	resource map[string]string
	wrong    []string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{values: map[string]float64{}, resource: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// ServeHTTP takes a request of OTLP metrics without compression.
func (s *sink) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	var data metricspb.MetricsData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	if err != nil {
		s.wrong = append(s.wrong, err.Error())
	}
	for _, resource := range data.GetResourceMetrics() {
		for _, a := range resource.GetResource().GetAttributes() {
			s.resource[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				s.add(m)
			}
		}
	}
}

func (s *sink) add(m *metricspb.Metric) {
	for _, p := range append(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()...) {
		s.values[seriesOf(m.GetName(), p)] = p.GetAsDouble()
	}
	for _, p := range m.GetExponentialHistogram().GetDataPoints() {
		counts := p.GetZeroCount()
		for _, n := range p.GetPositive().GetBucketCounts() {
			counts += n
		}
		s.values[seriesOf(m.GetName(), p)] = float64(p.GetCount())
		if counts != p.GetCount() {
			s.wrong = append(s.wrong, fmt.Sprintf("%s: %d in buckets, %d in all", m.GetName(), counts, p.GetCount()))
		}
	}
	sum, histogram := m.GetSum(), m.GetExponentialHistogram()
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	if sum != nil && (!sum.GetIsMonotonic() || sum.GetAggregationTemporality() != cumulative) ||
		histogram != nil && histogram.GetAggregationTemporality() != cumulative || m.GetHistogram() != nil {
		s.wrong = append(s.wrong, m.GetName()+" is of another type")
	}
}

// seriesOf is the key of a point.
func seriesOf(name string, p interface{ GetAttributes() []*commonpb.KeyValue }) string {
	labels := map[string]string{}
	for _, a := range p.GetAttributes() {
		labels[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return name + fmt.Sprint(labels) // in the order of the names
}

// gathered are the values of a registry, in the same form.
func gathered(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			all[f.GetName()+fmt.Sprint(labels)] = m.GetCounter().GetValue() + m.GetGauge().GetValue() +
				float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// still is a registry whose values are gathered once.
type still []*dto.MetricFamily

// Gather implements prometheus.Gatherer.
func (s still) Gather() ([]*dto.MetricFamily, error) { return s, nil }

// TestExport_CollectorMetrics sends the metrics of an agent's table to a collector, by both protocols, and compares
// what the collector sends on with the table, series by series.
func TestExport_CollectorMetrics(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds a collector: make test-stores")
	}
	n := newNode("n1")
	for range 10 {
		n.feed(t)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(n.table, agentStatus, nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := gathered(t, still(families))
	for _, protocol := range []string{exportconfig.ProtocolGRPC, exportconfig.ProtocolHTTP} {
		t.Run(protocol, func(t *testing.T) {
			s, endpoint := newSink(t), FreeAddress(t, loopback)
			path := filepath.Join(t.TempDir(), "config.yaml")
			text := strings.NewReplacer("PROTOCOL", protocol, "ENDPOINT", endpoint, "SINK", s.url).Replace(`
receivers:
  otlp: {protocols: {PROTOCOL: {endpoint: "ENDPOINT"}}}
exporters:
  otlphttp/sink: {metrics_endpoint: "SINK", compression: none}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [otlphttp/sink]}
`)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			Collector.Start(t, root, "--config="+path)
			if protocol == exportconfig.ProtocolHTTP {
				endpoint = "http://" + endpoint
			}
			s.check(t, endpoint, protocol, still(families), want)
		})
	}
}

// TestPrometheus_ReceivesOTLP sends the metrics of an agent's table to Prometheus' own receiver. They have the names
// and values that scrapes give them.
func TestPrometheus_ReceivesOTLP(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds Prometheus: make test-stores")
	}
	n := newNode("n1")
	for range 10 {
		n.feed(t)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(n.table, agentStatus, nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	// With suffixes, DCGM_FI_DEV_ECC_SBE_VOL_TOTAL would end with _total.
	p := StartPrometheus(t, root, "otlp: {promote_resource_attributes: [k8s.node.name], "+
		"translation_strategy: UnderscoreEscapingWithoutSuffixes}\n", "--web.enable-otlp-receiver")
	exportMetrics(t, p.url+"/api/v1/otlp", exportconfig.ProtocolHTTP, still(families), func() bool {
		return p.Sum(t, "count(orb8_network_sent_bytes_total)") > 0
	})
	for _, f := range families {
		want := 0.
		expr := f.GetName() + `{job="orb8-agent",instance="n1",k8s_node_name="n1"}`
		if f.GetType() == dto.MetricType_HISTOGRAM {
			expr = "histogram_count(" + expr + ")"
		}
		for _, m := range f.GetMetric() {
			want += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		if got := p.Sum(t, "sum("+expr+")"); math.Abs(got-want) > 1e-9*math.Abs(want) {
			t.Errorf("%s is %v, want %v", f.GetName(), got, want)
		}
	}
}

// check exports metrics, and compares what arrives.
func (s *sink) check(t *testing.T, endpoint, protocol string, from export.Gatherer, want map[string]float64) {
	t.Helper()
	exportMetrics(t, endpoint, protocol, from, func() bool { return s.has(len(want)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) > 0 {
		t.Errorf("%q", s.wrong)
	}
	if !maps.Equal(s.values, want) {
		t.Errorf("%d series have arrived, of %d:\n%v\nwant\n%v", len(s.values), len(want), s.values, want)
	}
	for name, value := range map[string]string{"service.name": "orb8-agent", "service.instance.id": "n1",
		"service.version": "v1", "k8s.node.name": "n1", "k8s.cluster.name": "prod"} {
		if s.resource[name] != value {
			t.Errorf("%s is %q, want %q", name, s.resource[name], value)
		}
	}
}

// exportMetrics runs an exporter of metrics until they have arrived.
func exportMetrics(t *testing.T, endpoint, protocol string, from export.Gatherer, arrived func() bool) {
	t.Helper()
	config := &exportconfig.Config{Endpoint: endpoint, Protocol: protocol,
		Signals: []string{exportconfig.SignalMetrics}, Resource: map[string]string{"k8s.cluster.name": "prod"}}
	config.TLS.Insecure = true
	config.Complete(nil)
	if err := config.Validate(nil); err != nil {
		t.Fatal(err)
	}
	e := export.New(export.Options{Node: "n1", Version: "v1", Metrics: from,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	e.Apply(config)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	for tick := time.NewTicker(50 * time.Millisecond); !arrived() && ctx.Err() == nil; <-tick.C {
	}
	cancel()
	running.Wait()
	if points := e.Status().Points; points.Lost != 0 || points.Sent != points.Queued || points.Sent == 0 {
		t.Errorf("%+v", points)
	}
}

func (s *sink) has(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.values) >= n
}
