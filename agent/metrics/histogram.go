package metrics

import (
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
)

const (
	// nativeSchema is the resolution of native histograms: 2^2 buckets for each doubling, whose bounds are 19 % apart.
	nativeSchema = 2
	// minExponent and maxExponent bound the native buckets: from 0.95 µs to 128 s. Values beyond are in the outermost.
	minExponent, maxExponent = -20, 7
	nativeBuckets            = (maxExponent-minExponent)<<nativeSchema + 1
	// zeroThreshold: smaller values, s, are in the zero bucket.
	zeroThreshold = 1e-9
)

// classicBounds are the upper bounds of the classic buckets, s.
var classicBounds = [...]float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

// histogram is a distribution of times, both with classic and with native buckets. Its size is fixed.
type histogram struct {
	count, zero uint64
	sum         time.Duration
	classic     [len(classicBounds)]uint64 // not cumulative
	native      [nativeBuckets]uint64
}

// observe adds a time. Negative ones count as 0.
func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	h.sum += d
	h.observeMany(d, 1)
}

// observeMany adds n times that are about d, but not to the sum.
func (h *histogram) observeMany(d time.Duration, n uint64) {
	h.count += n
	v := d.Seconds()
	for i, bound := range classicBounds {
		if v <= bound {
			h.classic[i] += n
			break
		}
	}
	if v <= zeroThreshold {
		h.zero += n
		return
	}
	h.native[nativeIndex(v)] += n
}

// quarters are the bounds of a doubling's buckets: 2^(i/4-1), as math.Frexp normalises.
var quarters = [...]float64{0.5, 0.5946035575013605, 0.7071067811865476, 0.8408964152537144}

// nativeIndex returns the place in native of a value above zeroThreshold. Bucket i is of values up to
// 2^(minExponent + i/4).
func nativeIndex(v float64) int {
	fraction, exponent := math.Frexp(v)
	key := (exponent - 1) << nativeSchema
	for _, bound := range quarters {
		if fraction > bound {
			key++
		}
	}
	return min(max(key-minExponent<<nativeSchema, 0), nativeBuckets-1)
}

// write returns the histogram as Prometheus exposes it.
func (h *histogram) write() *dto.Histogram {
	out := &dto.Histogram{
		SampleCount: new(h.count), SampleSum: new(h.sum.Seconds()),
		Schema: new(int32(nativeSchema)), ZeroThreshold: new(zeroThreshold), ZeroCount: new(h.zero),
		Bucket: make([]*dto.Bucket, len(classicBounds)),
	}
	buckets, sum := make([]dto.Bucket, len(classicBounds)), uint64(0)
	for i := range h.classic {
		sum += h.classic[i]
		buckets[i].CumulativeCount, buckets[i].UpperBound = new(sum), &classicBounds[i]
		out.Bucket[i] = &buckets[i]
	}
	var last int64
	end := -1 // of the span before
	for i, n := range h.native {
		if n == 0 {
			continue
		}
		if end != i || len(out.PositiveSpan) == 0 {
			gap := i - end
			if end < 0 {
				gap = i + minExponent<<nativeSchema
			}
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(int32(gap)),
				Length: new(uint32(0))})
		}
		*out.PositiveSpan[len(out.PositiveSpan)-1].Length++
		out.PositiveDelta = append(out.PositiveDelta, int64(n)-last)
		last, end = int64(n), i+1
	}
	if len(out.PositiveSpan) == 0 {
		// Without a span, a histogram with nothing in it is taken for a classic one.
		out.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
	}
	return out
}
