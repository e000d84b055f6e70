package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var update = flag.Bool("update", false, "write the generated docs")

func TestDocsAreCurrent(t *testing.T) {
	const path = "../../docs/metrics.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	agents, got, found := bytes.Cut(text, []byte(Marker))
	if *update {
		if err := os.WriteFile(path, append(bytes.TrimRight(agents, "\n"), "\n\n"+string(Markdown())...),
			0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !found || Marker+string(got) != string(Markdown()) {
		t.Errorf("%s is not what the catalog says: go test ./server/metrics -run Docs -update", path)
	}
}

// scrape returns all samples by name and labels, and the names; of histograms the count.
func scrape(t *testing.T, m *Metrics, s *Status) (samples map[string]float64, kinds map[string]string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := m.Register(registry, func() Status { return *s }); err != nil {
		t.Fatal(err)
	}
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples, kinds = map[string]float64{}, map[string]string{}
	for _, f := range gathered {
		kinds[f.GetName()] = map[string]string{"COUNTER": "counter", "GAUGE": "gauge",
			"HISTOGRAM": "histogram"}[f.GetType().String()]
		for _, one := range f.GetMetric() {
			key := f.GetName()
			for _, l := range one.GetLabel() {
				key += " " + l.GetValue()
			}
			samples[key] = one.GetCounter().GetValue() + one.GetGauge().GetValue() +
				float64(one.GetHistogram().GetSampleCount())
		}
	}
	return samples, kinds
}

func TestMetrics_Count(t *testing.T) {
	m := New()
	running := m.Begin("/orb8.orbit.OrbitService/StreamEvents")
	m.Begin("/orb8.orbit.OrbitService/QueryFlows")(nil)
	m.Begin("/orb8.orbit.OrbitService/QueryFlows")(status.Error(codes.PermissionDenied, "no"))
	m.Received(100)
	now := uint64(time.Now().Add(-time.Second).UnixNano())
	for range 2 * delaySample {
		m.Merged(&event.Event{Time: now, Kind: &event.Event_Flow{Flow: &event.Flow{}}}, true)
		m.Merged(&event.Event{Time: now, Kind: &event.Event_Flow{Flow: &event.Flow{}}}, false)
	}
	m.Merged(&event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{}}}, true)
	for _, stage := range []event.LossStage{event.LossStage_LOSS_STAGE_MERGE, event.LossStage_LOSS_STAGE_KERNEL_MAP,
		event.LossStage_LOSS_STAGE_STREAM_GAP, 99} {
		m.Merged(&event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Stage: stage, Count: 5}}}, true)
	}
	m.Dropped(7)
	m.Certificate(Signed)
	s := Status{Version: "v1", Agents: map[string]int{"connected": 2, "unreachable": 1},
		CertificateExpiry: time.Unix(1000, 0), HeldBytes: 1, LimitBytes: 2, Scrapes: map[int]uint64{200: 3, 403: 4}}
	got, _ := scrape(t, m, &s)
	for key, want := range map[string]float64{
		"orb8_server_requests_open StreamEvents":                 1,
		"orb8_server_requests_open QueryFlows":                   0,
		"orb8_server_requests_total OK QueryFlows":               1,
		"orb8_server_requests_total PermissionDenied QueryFlows": 1,
		"orb8_server_request_seconds QueryFlows":                 2,
		"orb8_server_received_events_total":                      100,
		"orb8_server_merged_events_total":                        4 * delaySample,
		"orb8_server_merge_delay_seconds":                        2,
		"orb8_server_lost_events_total merge":                    5,
		"orb8_server_lost_events_total stream-gap":               5,
		"orb8_server_lost_events_total decode":                   0,
		"orb8_server_lost_events_total queue":                    7,
		"orb8_server_viewer_certificates_total signed":           1,
		"orb8_server_viewer_certificates_total failed":           0,
		"orb8_server_agents connected":                           2,
		"orb8_server_agents unreachable":                         1,
		"orb8_server_certificate_expiry_timestamp_seconds":       1000,
		"orb8_server_held_limit_bytes":                           2,
		"orb8_metrics_requests_total 403":                        4,
		"orb8_server_info v1":                                    1,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
		}
	}
	if _, ok := got["orb8_server_authority_expiry_timestamp_seconds"]; ok {
		t.Error("an unknown time is there")
	}
	running(nil)
	if got, _ := scrape(t, m, &s); got["orb8_server_requests_open StreamEvents"] != 0 {
		t.Error("a stream that has ended is open")
	}
}

// The catalog is what a server exposes.
func TestMetrics_AreThoseOfTheCatalog(t *testing.T) {
	m := New()
	m.Begin("/a/B")(nil)
	s := Status{Agents: map[string]int{"connected": 1}, CertificateExpiry: time.Now(), AuthorityExpiry: time.Now(),
		Scrapes: map[int]uint64{200: 1}}
	_, kinds := scrape(t, m, &s)
	for _, group := range groups() {
		for _, one := range group {
			if kinds[one.name] != one.kind {
				t.Errorf("%s is a %q, not a %s", one.name, kinds[one.name], one.kind)
			}
			delete(kinds, one.name)
		}
	}
	if len(kinds) > 0 {
		t.Errorf("not in the catalog: %s", fmt.Sprint(kinds))
	}
}

func TestMetrics_NilCountsNothing(*testing.T) {
	var m *Metrics
	m.Begin("x")(nil)
	m.Received(1)
	m.Merged(&event.Event{}, true)
	m.Dropped(1)
	m.Certificate(Denied)
}
