package otlpmetric

import (
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
)

// Field numbers of the points. start and time are those of all.
const (
	pointStart protowire.Number = 2
	pointTime  protowire.Number = 3

	numberValue      protowire.Number = 4
	numberAttributes protowire.Number = 7

	// Of HistogramDataPoint, ExponentialHistogramDataPoint and SummaryDataPoint.
	pointCount protowire.Number = 4
	pointSum   protowire.Number = 5

	histogramCounts     protowire.Number = 6
	histogramBounds     protowire.Number = 7
	histogramAttributes protowire.Number = 9

	exponentialAttributes protowire.Number = 1
	exponentialScale      protowire.Number = 6
	exponentialZeros      protowire.Number = 7
	exponentialPositive   protowire.Number = 8
	exponentialNegative   protowire.Number = 9
	exponentialThreshold  protowire.Number = 14
	bucketsOffset         protowire.Number = 1
	bucketsCounts         protowire.Number = 2

	summaryQuantiles  protowire.Number = 6
	summaryAttributes protowire.Number = 7
	quantileQuantile  protowire.Number = 1
	quantileValue     protowire.Number = 2
)

const (
	// Schemas of native histograms whose buckets are exponential.
	minSchema, maxSchema = -4, 8
	// maxBuckets bounds the buckets of a point. OTLP has no spans, so wide gaps would be many zeros.
	maxBuckets = 4096
)

// encodePoint writes a metric into e.point, and returns the field of Metric that it belongs to. It is false for what
// OTLP has no form for.
func (e *encoder) encodePoint(t dto.MetricType, m *dto.Metric) (field protowire.Number, ok bool) {
	e.point = e.point[:0]
	switch t {
	case dto.MetricType_COUNTER:
		c := m.GetCounter()
		e.addTimes(m, c.GetCreatedTimestamp(), true)
		e.point = appendFloat(e.point, numberValue, c.GetValue())
		e.addAttributes(numberAttributes, m)
		return metricSum, c != nil
	case dto.MetricType_GAUGE:
		e.addNumber(m, m.GetGauge().GetValue())
		return metricGauge, m.GetGauge() != nil
	case dto.MetricType_UNTYPED:
		e.addNumber(m, m.GetUntyped().GetValue())
		return metricGauge, m.GetUntyped() != nil
	case dto.MetricType_SUMMARY:
		e.addSummary(m)
		return metricSummary, m.GetSummary() != nil
	case dto.MetricType_HISTOGRAM:
		h := m.GetHistogram()
		switch {
		case h == nil || h.GetSampleCountFloat() > 0: // a count of OTLP is a whole number
			return 0, false
		case isExponential(h):
			return metricExponential, e.addExponential(m, h)
		}
		return metricHistogram, e.addHistogram(m, h)
	}
	return 0, false // a gauge histogram
}

// isExponential reports whether a histogram has native buckets that are exponential.
func isExponential(h *dto.Histogram) bool {
	return (len(h.GetPositiveSpan()) > 0 || len(h.GetNegativeSpan()) > 0 || h.GetZeroThreshold() > 0 ||
		h.GetZeroCount() > 0) && h.GetSchema() >= minSchema && h.GetSchema() <= maxSchema
}

// addTimes adds the point's time, and when it began: created, or the start of the process.
func (e *encoder) addTimes(m *dto.Metric, created *timestamppb.Timestamp, began bool) {
	now := e.now
	if ms := m.GetTimestampMs(); ms > 0 {
		now = uint64(ms) * uint64(time.Millisecond)
	}
	if began {
		start := e.start
		if created.IsValid() && created.GetSeconds() >= 0 {
			start = uint64(created.AsTime().UnixNano())
		}
		e.point = appendFixed(e.point, pointStart, min(start, now)) // clocks are set back
	}
	e.point = appendFixed(e.point, pointTime, now)
}

func (e *encoder) addAttributes(field protowire.Number, m *dto.Metric) {
	for _, l := range m.GetLabel() {
		if l.GetValue() != "" { // Prometheus takes an empty label for none
			e.scratch = request.AppendAttribute(e.scratch[:0], l.GetName(), l.GetValue())
			e.point = request.AppendBytes(e.point, field, e.scratch)
		}
	}
}

func (e *encoder) addNumber(m *dto.Metric, value float64) {
	e.addTimes(m, nil, false)
	e.point = appendFloat(e.point, numberValue, value)
	e.addAttributes(numberAttributes, m)
}

// addHistogram adds a classic histogram. It is false for one whose buckets are in disorder.
func (e *encoder) addHistogram(m *dto.Metric, h *dto.Histogram) bool {
	buckets := h.GetBucket()
	if n := len(buckets); n > 0 && math.IsInf(buckets[n-1].GetUpperBound(), 1) {
		buckets = buckets[:n-1] // OTLP's last bucket has no bound
	}
	if len(buckets) > maxBuckets {
		return false
	}
	e.addTimes(m, h.GetCreatedTimestamp(), true)
	e.point = appendFixed(e.point, pointCount, h.GetSampleCount())
	e.point = appendFloat(e.point, pointSum, h.GetSampleSum())
	e.point = protowire.AppendTag(e.point, histogramCounts, protowire.BytesType)
	e.point = protowire.AppendVarint(e.point, uint64(8*(len(buckets)+1)))
	before := uint64(0)
	for _, b := range buckets {
		n := b.GetCumulativeCount()
		if n < before {
			return false
		}
		e.point = protowire.AppendFixed64(e.point, n-before)
		before = n
	}
	if h.GetSampleCount() < before {
		return false
	}
	e.point = protowire.AppendFixed64(e.point, h.GetSampleCount()-before)
	if len(buckets) > 0 {
		e.point = protowire.AppendTag(e.point, histogramBounds, protowire.BytesType)
		e.point = protowire.AppendVarint(e.point, uint64(8*len(buckets)))
	}
	last := math.Inf(-1)
	for _, b := range buckets {
		bound := b.GetUpperBound()
		if !(bound > last) || math.IsInf(bound, 0) { // also NaN
			return false
		}
		e.point = protowire.AppendFixed64(e.point, math.Float64bits(bound))
		last = bound
	}
	e.addAttributes(histogramAttributes, m)
	return true
}

// addExponential adds a native histogram. It is false for one whose spans are wrong.
func (e *encoder) addExponential(m *dto.Metric, h *dto.Histogram) bool {
	e.addAttributes(exponentialAttributes, m)
	e.addTimes(m, h.GetCreatedTimestamp(), true)
	e.point = appendFixed(e.point, pointCount, h.GetSampleCount())
	e.point = appendFloat(e.point, pointSum, h.GetSampleSum())
	e.point = appendVarint(e.point, exponentialScale, protowire.EncodeZigZag(int64(h.GetSchema())))
	e.point = appendFixed(e.point, exponentialZeros, h.GetZeroCount())
	if !e.addBuckets(exponentialPositive, h.GetPositiveSpan(), h.GetPositiveDelta()) ||
		!e.addBuckets(exponentialNegative, h.GetNegativeSpan(), h.GetNegativeDelta()) {
		return false
	}
	e.point = appendFloat(e.point, exponentialThreshold, h.GetZeroThreshold())
	return true
}

// addBuckets adds the buckets of spans, with the gaps between them as zeros. Prometheus counts buckets by their upper
// bound, OTLP by their lower one.
func (e *encoder) addBuckets(field protowire.Number, spans []*dto.BucketSpan, deltas []int64) bool {
	counts := e.scratch[:0]
	buckets, used, n := 0, 0, int64(0)
	for i, span := range spans {
		if i > 0 {
			gap := int(span.GetOffset())
			if buckets += gap; gap < 0 || buckets > maxBuckets {
				return false
			}
			counts = append(counts, make([]byte, gap)...) // varints of 0
		}
		length := int(span.GetLength())
		if buckets += length; buckets > maxBuckets || used+length > len(deltas) {
			return false
		}
		for _, delta := range deltas[used : used+length] {
			if n += delta; n < 0 {
				return false
			}
			counts = protowire.AppendVarint(counts, uint64(n))
		}
		used += length
	}
	e.scratch = counts
	if used != len(deltas) {
		return false
	}
	if buckets == 0 {
		return true
	}
	offset := protowire.EncodeZigZag(int64(spans[0].GetOffset()) - 1)
	e.point = protowire.AppendTag(e.point, field, protowire.BytesType)
	e.point = protowire.AppendVarint(e.point, uint64(1+protowire.SizeVarint(offset)+1+protowire.SizeBytes(len(counts))))
	e.point = appendVarint(e.point, bucketsOffset, offset)
	e.point = request.AppendBytes(e.point, bucketsCounts, counts)
	return true
}

func (e *encoder) addSummary(m *dto.Metric) {
	s := m.GetSummary()
	e.addTimes(m, s.GetCreatedTimestamp(), true)
	e.point = appendFixed(e.point, pointCount, s.GetSampleCount())
	e.point = appendFloat(e.point, pointSum, s.GetSampleSum())
	for _, q := range s.GetQuantile() {
		e.scratch = appendFloat(e.scratch[:0], quantileQuantile, q.GetQuantile())
		e.scratch = appendFloat(e.scratch, quantileValue, q.GetValue())
		e.point = request.AppendBytes(e.point, summaryQuantiles, e.scratch)
	}
	e.addAttributes(summaryAttributes, m)
}

func appendFixed(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), v)
}

func appendFloat(dst []byte, field protowire.Number, v float64) []byte {
	return appendFixed(dst, field, math.Float64bits(v))
}
