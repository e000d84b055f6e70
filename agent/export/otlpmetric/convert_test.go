package otlpmetric

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
)

// Times of the tests, ns.
const (
	nowNs     = 9_000_000_000
	startNs   = 2_000_000_000
	createdNs = 5_000_000_000
)

var (
	created = timestamppb.New(time.Unix(0, createdNs))
	roomy   = Limits{Request: 1 << 20, Total: 1 << 22}
)

// encode encodes families, and returns the metrics of all requests as OpenTelemetry's own code reads them.
func encode(tb testing.TB, limits Limits, families ...*dto.MetricFamily) ([]*metricspb.Metric, Result) {
	tb.Helper()
	envelope := request.NewEnvelope([]request.Attribute{{Name: "service.name", Value: "orb8-agent"}}, nil, "orb8", "v1")
	r := Encode(envelope, families, time.Unix(0, nowNs), time.Unix(0, startNs), limits)
	var all []*metricspb.Metric
	total := 0
	for _, q := range r.Requests {
		if total += len(q.Body); len(q.Body) > limits.Request || total > limits.Total || q.Points == 0 {
			tb.Errorf("a request of %d bytes with %d points, %d bytes so far", len(q.Body), q.Points, total)
		}
		var data metricspb.MetricsData
		if err := proto.Unmarshal(q.Body, &data); err != nil {
			tb.Fatal(err)
		}
		resource := data.GetResourceMetrics()[0]
		if len(data.GetResourceMetrics()) != 1 || len(resource.GetScopeMetrics()) != 1 ||
			resource.GetResource().GetAttributes()[0].GetKey() != "service.name" ||
			resource.GetScopeMetrics()[0].GetScope().GetName() != "orb8" {
			tb.Fatalf("%v", prototext.Format(&data))
		}
		metrics := resource.GetScopeMetrics()[0].GetMetrics()
		points := 0
		for _, m := range metrics {
			points += countPoints(m)
		}
		if points != q.Points {
			tb.Errorf("%d points in a request of %d", points, q.Points)
		}
		all = append(all, metrics...)
	}
	return all, r
}

func countPoints(m *metricspb.Metric) int {
	return len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()) +
		len(m.GetExponentialHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints())
}

// family makes a family.
func family(name string, t dto.MetricType, metrics ...*dto.Metric) *dto.MetricFamily {
	return &dto.MetricFamily{Name: &name, Type: &t, Metric: metrics}
}

func labels(pairs ...string) (all []*dto.LabelPair) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &dto.LabelPair{Name: &pairs[i], Value: &pairs[i+1]})
	}
	return all
}

func attribute(key, value string) []*commonpb.KeyValue {
	return []*commonpb.KeyValue{{Key: key, Value: &commonpb.AnyValue{
		Value: &commonpb.AnyValue_StringValue{StringValue: value}}}}
}

// number is a point of a gauge or a sum; start 0 is none.
func number(start, at uint64, v float64, attributes []*commonpb.KeyValue) *metricspb.NumberDataPoint {
	return &metricspb.NumberDataPoint{StartTimeUnixNano: start, TimeUnixNano: at, Attributes: attributes,
		Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: v}}
}

func sum(points ...*metricspb.NumberDataPoint) *metricspb.Metric_Sum {
	return &metricspb.Metric_Sum{Sum: &metricspb.Sum{DataPoints: points, IsMonotonic: true,
		AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
}

func gauge(points ...*metricspb.NumberDataPoint) *metricspb.Metric_Gauge {
	return &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: points}}
}

func spans(pairs ...int32) (all []*dto.BucketSpan) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &dto.BucketSpan{Offset: &pairs[i], Length: new(uint32(pairs[i+1]))})
	}
	return all
}

func buckets(pairs ...float64) (all []*dto.Bucket) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &dto.Bucket{UpperBound: &pairs[i], CumulativeCount: new(uint64(pairs[i+1]))})
	}
	return all
}

func histogram(points ...*metricspb.HistogramDataPoint) *metricspb.Metric_Histogram {
	return &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{DataPoints: points,
		AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
}

func exponential(points ...*metricspb.ExponentialHistogramDataPoint) *metricspb.Metric_ExponentialHistogram {
	return &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
		DataPoints:             points,
		AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
}

// nativeBuckets is an alias because of the length of the name.
type nativeBuckets = metricspb.ExponentialHistogramDataPoint_Buckets

func TestEncode(t *testing.T) {
	ab := labels("a", "b")
	counter := func(v float64, at *timestamppb.Timestamp) *dto.Counter {
		return &dto.Counter{Value: &v, CreatedTimestamp: at}
	}
	for name, c := range map[string]struct {
		in   *dto.MetricFamily
		want *metricspb.Metric
	}{
		"a counter, which says when it began": {
			family("x_bytes_total", dto.MetricType_COUNTER,
				&dto.Metric{Counter: counter(7, created), Label: labels("pod", "web-0", "peer", "")}),
			&metricspb.Metric{Name: "x_bytes_total", Unit: "By",
				Data: sum(number(createdNs, nowNs, 7, attribute("pod", "web-0")))}},
		"a counter, which does not": {
			family("x_total", dto.MetricType_COUNTER, &dto.Metric{Counter: counter(math.Inf(1), nil)}),
			&metricspb.Metric{Name: "x_total", Data: sum(number(startNs, nowNs, math.Inf(1), nil))}},
		"a counter that began later, by a clock that was set back": {
			family("x_total", dto.MetricType_COUNTER,
				&dto.Metric{Counter: counter(1, timestamppb.New(time.Unix(0, 2*nowNs)))}),
			&metricspb.Metric{Name: "x_total", Data: sum(number(nowNs, nowNs, 1, nil))}},
		"a gauge with a time of its own": {
			family("x_seconds", dto.MetricType_GAUGE,
				&dto.Metric{Gauge: &dto.Gauge{Value: new(-1.5)}, TimestampMs: new(int64(8000))}),
			&metricspb.Metric{Name: "x_seconds", Unit: "s", Data: gauge(number(0, 8_000_000_000, -1.5, nil))}},
		"of unknown type": {
			family("x", dto.MetricType_UNTYPED, &dto.Metric{Untyped: &dto.Untyped{Value: new(3.)}}),
			&metricspb.Metric{Name: "x", Data: gauge(number(0, nowNs, 3, nil))}},
		"a summary": {
			family("x", dto.MetricType_SUMMARY, &dto.Metric{Label: labels("a", "b"), Summary: &dto.Summary{
				SampleCount: new(uint64(5)), SampleSum: new(2.5), CreatedTimestamp: created,
				Quantile: []*dto.Quantile{{Quantile: new(0.5), Value: new(0.1)}}}}),
			&metricspb.Metric{Name: "x", Data: &metricspb.Metric_Summary{Summary: &metricspb.Summary{
				DataPoints: []*metricspb.SummaryDataPoint{{StartTimeUnixNano: createdNs, TimeUnixNano: nowNs, Count: 5,
					Sum: 2.5, Attributes: attribute("a", "b"),
					QuantileValues: []*metricspb.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 0.1}}}}}}}},
		"a classic histogram": {
			family("x_seconds", dto.MetricType_HISTOGRAM, &dto.Metric{Label: ab, Histogram: &dto.Histogram{
				SampleCount: new(uint64(6)), SampleSum: new(3.5), CreatedTimestamp: created,
				Bucket: buckets(0.1, 1, 0.5, 1, 1, 4)}}),
			&metricspb.Metric{Name: "x_seconds", Unit: "s", Data: histogram(&metricspb.HistogramDataPoint{
				StartTimeUnixNano: createdNs, TimeUnixNano: nowNs, Count: 6, Sum: new(3.5),
				Attributes: attribute("a", "b"), BucketCounts: []uint64{1, 0, 3, 2},
				ExplicitBounds: []float64{0.1, 0.5, 1}})}},
		"a classic histogram with the last bucket written": {
			family("x", dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{SampleCount: new(uint64(3)),
				Bucket: buckets(1, 2, math.Inf(1), 3)}}),
			&metricspb.Metric{Name: "x", Data: histogram(&metricspb.HistogramDataPoint{StartTimeUnixNano: startNs,
				TimeUnixNano: nowNs, Count: 3, Sum: new(0.), BucketCounts: []uint64{2, 1},
				ExplicitBounds: []float64{1}})}},
		"a native histogram, whose classic buckets are left out": {
			family("x_seconds", dto.MetricType_HISTOGRAM, &dto.Metric{Label: ab, Histogram: &dto.Histogram{
				SampleCount: new(uint64(9)), SampleSum: new(3.5), CreatedTimestamp: created, Schema: new(int32(2)),
				ZeroThreshold: new(1e-9), ZeroCount: new(uint64(1)), Bucket: buckets(1, 9),
				PositiveSpan: spans(-3, 2, 2, 1), PositiveDelta: []int64{2, 1, -2},
				NegativeSpan: spans(5, 1), NegativeDelta: []int64{2}}}),
			&metricspb.Metric{Name: "x_seconds", Unit: "s", Data: exponential(&metricspb.ExponentialHistogramDataPoint{
				StartTimeUnixNano: createdNs, TimeUnixNano: nowNs, Count: 9, Sum: new(3.5),
				Attributes: attribute("a", "b"), Scale: 2, ZeroCount: 1, ZeroThreshold: 1e-9,
				Positive: &nativeBuckets{Offset: -4, BucketCounts: []uint64{2, 3, 0, 0, 1}},
				Negative: &nativeBuckets{Offset: 4, BucketCounts: []uint64{2}}})}},
		"a native histogram of nothing": {
			family("x", dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{Schema: new(int32(2)),
				PositiveSpan: spans(0, 0), Bucket: buckets(1, 0)}}),
			&metricspb.Metric{Name: "x", Data: exponential(&metricspb.ExponentialHistogramDataPoint{
				StartTimeUnixNano: startNs, TimeUnixNano: nowNs, Sum: new(0.), Scale: 2})}},
		"a native histogram whose buckets are not exponential": {
			family("x", dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{Schema: new(int32(-53)),
				SampleCount: new(uint64(2)), PositiveSpan: spans(0, 1), PositiveDelta: []int64{2},
				Bucket: buckets(1, 2)}}),
			&metricspb.Metric{Name: "x", Data: histogram(&metricspb.HistogramDataPoint{StartTimeUnixNano: startNs,
				TimeUnixNano: nowNs, Count: 2, Sum: new(0.), BucketCounts: []uint64{2, 0},
				ExplicitBounds: []float64{1}})}},
	} {
		t.Run(name, func(t *testing.T) {
			c.in.Help = new("What it is.")
			c.want.Description = "What it is."
			got, r := encode(t, roomy, c.in)
			if r.Points != 1 || r.Unreadable != 0 || r.Overflow != 0 {
				t.Errorf("%d points, %d unreadable, %d too many", r.Points, r.Unreadable, r.Overflow)
			}
			if diff := cmp.Diff([]*metricspb.Metric{c.want}, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEncode_HostileLabels holds that a receiver can read what processes and peers choose.
func TestEncode_HostileLabels(t *testing.T) {
	values := map[string]string{
		"\xff\xfe": "\ufffd", "a\x00\x1b[2J\n\"": "a\x00\x1b[2J\n\"", "訂單": "訂單", "\u202e": "\u202e",
		strings.Repeat("x", 70_000): strings.Repeat("x", 70_000), "other": "other",
	}
	for value, want := range values {
		f := family("x_total", dto.MetricType_COUNTER,
			&dto.Metric{Counter: &dto.Counter{Value: new(1.)}, Label: labels("peer", value)})
		got, _ := encode(t, roomy, f)
		if len(got) != 1 {
			t.Fatalf("%.20q: %d metrics", value, len(got))
		}
		a := got[0].GetSum().GetDataPoints()[0].GetAttributes()
		if len(a) != 1 || a[0].GetKey() != "peer" || a[0].GetValue().GetStringValue() != want {
			t.Errorf("%.20q became %.40v", value, a)
		}
	}
}

// TestEncode_Unreadable holds that a wrong point costs no other one.
func TestEncode_Unreadable(t *testing.T) {
	good := &dto.Metric{Histogram: &dto.Histogram{SampleCount: new(uint64(1)), Bucket: buckets(1, 1)}}
	native := func(s []*dto.BucketSpan, deltas ...int64) *dto.Histogram {
		return &dto.Histogram{Schema: new(int32(1)), PositiveSpan: s, PositiveDelta: deltas}
	}
	for name, h := range map[string]*dto.Histogram{
		"none":                              nil,
		"counts that are no whole numbers":  {SampleCountFloat: new(1.5)},
		"counts that fall":                  {SampleCount: new(uint64(3)), Bucket: buckets(1, 3, 2, 2)},
		"more in buckets than in all":       {SampleCount: new(uint64(1)), Bucket: buckets(1, 3)},
		"bounds that fall":                  {SampleCount: new(uint64(3)), Bucket: buckets(2, 1, 1, 2)},
		"a bound twice":                     {SampleCount: new(uint64(3)), Bucket: buckets(1, 1, 1, 2)},
		"no number as a bound":              {SampleCount: new(uint64(3)), Bucket: buckets(math.NaN(), 1)},
		"a bound of minus infinity":         {SampleCount: new(uint64(3)), Bucket: buckets(math.Inf(-1), 1)},
		"infinity in the middle":            {SampleCount: new(uint64(3)), Bucket: buckets(math.Inf(1), 1, 2, 1)},
		"more spans than counts":            native(spans(0, 3), 1),
		"more counts than spans":            native(spans(0, 1), 1, 1),
		"a negative count":                  native(spans(0, 2), 1, -2),
		"a gap backwards":                   native(spans(0, 1, -1, 1), 1, 1),
		"a gap that is too wide":            native(spans(0, 1, math.MaxInt32, 1), 1, 1),
		"too many buckets":                  native(spans(0, math.MaxInt32), 1),
		"counts that overflow":              native(spans(0, 2), math.MaxInt64, 1),
		"too many buckets in several spans": native(spans(0, 1, 4000, 1, 4000, 1), 1, 0, 0),
	} {
		got, r := encode(t, roomy, family("x", dto.MetricType_HISTOGRAM, good, &dto.Metric{Histogram: h}, good))
		if r.Points != 3 || r.Unreadable != 1 || len(got) != 1 || countPoints(got[0]) != 2 {
			t.Errorf("%s: %d of %d are unreadable, %v", name, r.Unreadable, r.Points, got)
		}
	}
	t.Run("of a type without a form", func(t *testing.T) {
		got, r := encode(t, roomy, family("x", dto.MetricType_GAUGE_HISTOGRAM, good), family("y", dto.MetricType_GAUGE,
			&dto.Metric{}), family("z", dto.MetricType_COUNTER))
		if r.Points != 2 || r.Unreadable != 2 || len(got) != 0 || len(r.Requests) != 0 {
			t.Errorf("%+v, %v", r, got)
		}
	})
}

// TestEncode_TypesOfOneFamily holds that each type of histogram in a family has a metric of its own.
func TestEncode_TypesOfOneFamily(t *testing.T) {
	classic := &dto.Metric{Histogram: &dto.Histogram{SampleCount: new(uint64(1)), Bucket: buckets(1, 1)}}
	native := &dto.Metric{Histogram: &dto.Histogram{SampleCount: new(uint64(1)), PositiveSpan: spans(0, 1),
		PositiveDelta: []int64{1}}}
	got, _ := encode(t, roomy, family("x", dto.MetricType_HISTOGRAM, classic, native, native, classic))
	if len(got) != 3 || len(got[1].GetExponentialHistogram().GetDataPoints()) != 2 ||
		len(got[2].GetHistogram().GetDataPoints()) != 1 {
		t.Errorf("%v", got)
	}
}
