package otlpmetric

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
)

// flows is a family of counters, of as many workloads.
func flows(n int) *dto.MetricFamily {
	f := family("orb8_network_sent_bytes_total", dto.MetricType_COUNTER)
	f.Help = new("Bytes that pods have sent, by workload and kind of peer.")
	for i := range n {
		f.Metric = append(f.Metric, &dto.Metric{
			Counter: &dto.Counter{Value: new(float64(i)), CreatedTimestamp: created},
			Label: labels("namespace", "shop", "peer", "private", "protocol", "tcp", "role", "client",
				"workload", fmt.Sprintf("deploy/web-%d", i))})
	}
	return f
}

// rtts is a family of native histograms, of as many workloads.
func rtts(n int) *dto.MetricFamily {
	f := family("orb8_tcp_rtt_seconds", dto.MetricType_HISTOGRAM)
	for i := range n {
		h := &dto.Histogram{SampleCount: new(uint64(30)), SampleSum: new(0.5), CreatedTimestamp: created,
			Schema: new(int32(2)), ZeroThreshold: new(1e-9), PositiveSpan: spans(-40, 30), Bucket: buckets(1, 30)}
		for range 30 {
			h.PositiveDelta = append(h.PositiveDelta, 0)
		}
		h.PositiveDelta[0] = 1
		f.Metric = append(f.Metric, &dto.Metric{Histogram: h, Label: labels("namespace", "shop", "role", "client",
			"workload", fmt.Sprintf("deploy/web-%d", i))})
	}
	return f
}

// TestEncode_Splits holds that requests keep their limit, whose sizes encode checks, and have every point once.
func TestEncode_Splits(t *testing.T) {
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 1 << 20} {
		got, r := encode(t, Limits{Request: size, Total: 1 << 24}, flows(1000), rtts(100), flows(1))
		seen := map[string]bool{}
		histograms := 0
		for _, m := range got {
			for _, p := range m.GetSum().GetDataPoints() {
				seen[fmt.Sprint(p.GetAttributes(), p.GetAsDouble())] = true
			}
			histograms += len(m.GetExponentialHistogram().GetDataPoints())
			if !strings.HasPrefix(m.GetName(), "orb8_") || m.GetUnit() == "" {
				t.Errorf("a metric without its head: %v", m.GetName())
			}
		}
		if r.Points != 1101 || r.Overflow+r.Unreadable != 0 || len(seen) != 1000 || histograms != 100 {
			t.Errorf("of %d points %d and %d are there, %d too many, %d unreadable, in requests of %d bytes", r.Points,
				len(seen), histograms, r.Overflow, r.Unreadable, size)
		}
		if size == 1<<20 && len(r.Requests) != 1 {
			t.Errorf("%d requests, want 1", len(r.Requests))
		}
	}
}

func TestEncode_Limits(t *testing.T) {
	got, r := encode(t, Limits{Request: 8 << 10, Total: 64 << 10}, flows(10_000))
	points := 0
	for _, m := range got {
		points += countPoints(m)
	}
	if r.Points != 10_000 || points+r.Overflow != r.Points || points < 200 || r.Unreadable != 0 {
		t.Errorf("%d points, %d sent, %d too many, %d unreadable", r.Points, points, r.Overflow, r.Unreadable)
	}
	long := family("x", dto.MetricType_GAUGE, &dto.Metric{Gauge: &dto.Gauge{Value: new(1.)},
		Label: labels("peer", strings.Repeat("x", 1000))}, &dto.Metric{Gauge: &dto.Gauge{Value: new(2.)}})
	if got, r := encode(t, Limits{Request: 600, Total: 1 << 20}, long); r.Unreadable != 1 || len(got) != 1 ||
		got[0].GetGauge().GetDataPoints()[0].GetAsDouble() != 2 {
		t.Errorf("%+v, %v", r, got)
	}
}

// FuzzEncode takes families as a gatherer of someone else could make them.
func FuzzEncode(f *testing.F) {
	for _, seed := range []*dto.MetricFamily{flows(2), rtts(2), family("x", dto.MetricType_HISTOGRAM, &dto.Metric{
		Histogram: &dto.Histogram{SampleCount: new(uint64(3)), Bucket: buckets(1, 2, math.Inf(1), 3)}})} {
		wire, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, uint16(2000))
	}
	f.Fuzz(func(t *testing.T, wire []byte, size uint16) {
		var in dto.MetricFamily
		if proto.Unmarshal(wire, &in) != nil {
			return
		}
		got, r := encode(t, Limits{Request: int(size), Total: 4 * int(size)}, &in, &in)
		points := 0
		for _, m := range got {
			points += countPoints(m)
		}
		if points+r.Overflow+r.Unreadable != r.Points || r.Points != 2*len(in.GetMetric()) {
			t.Errorf("%d points, %d encoded, %d too many, %d unreadable", r.Points, points, r.Overflow, r.Unreadable)
		}
	})
}

// BenchmarkEncode has as many series as an agent by default, of which a histogram is 19.
func BenchmarkEncode(b *testing.B) {
	families := []*dto.MetricFamily{flows(8100), rtts(100)}
	envelope := request.NewEnvelope(nil, nil, "orb8", "v1")
	size := 0
	for b.Loop() {
		r := Encode(envelope, families, time.Unix(0, nowNs), time.Unix(0, startNs), Limits{512 << 10, 4 << 20})
		size = 0
		for _, q := range r.Requests {
			size += len(q.Body)
		}
	}
	b.ReportMetric(float64(size), "bytes/snapshot")
	b.ReportAllocs()
}
