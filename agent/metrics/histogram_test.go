package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// The native buckets are those that client_golang makes of the same values.
func TestHistogram_IsThatOfTheLibrary(t *testing.T) {
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: classicBounds[:],
		NativeHistogramBucketFactor: 1.19, NativeHistogramZeroThreshold: zeroThreshold})
	var ours histogram
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		d := time.Duration(math.Exp(random.Float64()*16) * 1000) // 1 µs to 9 s
		ours.observe(d)
		theirs.Observe(d.Seconds())
	}
	for _, d := range []time.Duration{0, time.Second, 500 * time.Millisecond, 250 * time.Millisecond} {
		ours.observe(d)
		theirs.Observe(d.Seconds())
	}
	var want dto.Metric
	if err := theirs.Write(&want); err != nil {
		t.Fatal(err)
	}
	got, w := ours.write(), want.GetHistogram()
	if got.GetSchema() != w.GetSchema() || got.GetSampleCount() != w.GetSampleCount() ||
		got.GetZeroCount() != w.GetZeroCount() || math.Abs(got.GetSampleSum()/w.GetSampleSum()-1) > 1e-6 {
		t.Errorf("schema %d, count %d, zero %d, sum %v; want %d, %d, %d, %v", got.GetSchema(), got.GetSampleCount(),
			got.GetZeroCount(), got.GetSampleSum(), w.GetSchema(), w.GetSampleCount(), w.GetZeroCount(),
			w.GetSampleSum())
	}
	ourBuckets, theirBuckets := native(got), native(w)
	if len(ourBuckets) != len(theirBuckets) {
		t.Fatalf("%d native buckets, want %d", len(ourBuckets), len(theirBuckets))
	}
	for i, n := range theirBuckets {
		if ourBuckets[i] != n {
			t.Errorf("native bucket %d has %d, want %d", i, ourBuckets[i], n)
		}
	}
	for i, b := range w.GetBucket() {
		if i < len(got.GetBucket()) && got.GetBucket()[i].GetCumulativeCount() != b.GetCumulativeCount() {
			t.Errorf("bucket %v has %d, want %d", b.GetUpperBound(), got.GetBucket()[i].GetCumulativeCount(),
				b.GetCumulativeCount())
		}
	}
}

// native returns the counts that are not 0 by the buckets' indexes.
func native(h *dto.Histogram) map[int32]int64 {
	counts := map[int32]int64{}
	index, i, n := int32(0), 0, int64(0)
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			n += h.GetPositiveDelta()[i]
			if n != 0 {
				counts[index] = n
			}
			i++
			index++
		}
	}
	return counts
}

func TestHistogram_OutermostBuckets(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-time.Hour, 0, 2 * time.Nanosecond, 24 * time.Hour} {
		h.observe(d)
	}
	if out := h.write(); out.GetSampleCount() != 4 || out.GetZeroCount() != 2 || len(native(out)) != 2 {
		t.Errorf("%v", out)
	}
}
