package event

import (
	"math"
	"math/bits"
)

// Response times are counted in buckets: the first is for times below 32 µs, the last for those of 2^26 µs (67 s) and
// more, and those between grow by 2^(1/8), as in exponential histograms of scale 3. So the middle of a bucket is within
// 4.6 % of each of its times. bpf/flows/responses.h counts in the same ones.
const (
	// ResponseBuckets is how many there are.
	ResponseBuckets = 170

	responseLow  = 5
	responseHigh = 26
	perOctave    = 8
	// bucketBits is the room for the bucket in a number of ResponseTimes.histogram.
	bucketBits = 8
	// maxResponses bounds the count of a bucket: larger ones are no true counts.
	maxResponses = 1 << 48
)

// responseFactors are 2^(i/8).
var responseFactors = func() (all [perOctave]float64) {
	for i := range all {
		all[i] = math.Exp2(float64(i) / perOctave)
	}
	return all
}()

// ResponseBounds returns the bounds of a bucket, µs: it counts times from the first up to, but less than, the second.
// The last bucket has no upper bound: it returns twice the lower one.
func ResponseBounds(bucket int) (from, to float64) {
	lower := func(b int) float64 {
		if b == 0 {
			return 0
		}
		return math.Ldexp(responseFactors[(b-1)%perOctave], responseLow+(b-1)/perOctave)
	}
	if bucket >= ResponseBuckets-1 {
		return 1 << responseHigh, 2 << responseHigh
	}
	return lower(bucket), lower(bucket + 1)
}

// ResponseBucket returns the bucket of a time.
func ResponseBucket(micros uint64) int {
	switch {
	case micros < 1<<responseLow:
		return 0
	case micros >= 1<<responseHigh:
		return ResponseBuckets - 1
	}
	octave := bits.Len64(micros) - 1
	at := 1 + (octave-responseLow)*perOctave
	part := math.Ldexp(float64(micros), -octave)
	for i := perOctave - 1; i > 0; i-- {
		if part >= responseFactors[i] {
			return at + i
		}
	}
	return at
}

// AppendResponses appends a bucket to a histogram as ResponseTimes has it. Buckets ascend.
func AppendResponses(to []uint64, bucket int, count uint64) []uint64 {
	return append(to, min(count, maxResponses)<<bucketBits|uint64(bucket))
}

// ResponseAt returns the bucket and the count of a number of ResponseTimes.histogram. Any number is valid: those of a
// bucket that does not exist count in the last one.
func ResponseAt(n uint64) (bucket int, count uint64) {
	return min(int(n&(1<<bucketBits-1)), ResponseBuckets-1), min(n>>bucketBits, maxResponses)
}

// MergeResponses appends the sum of two histograms to a list, which must not be one of them.
func MergeResponses(to, a, b []uint64) []uint64 {
	for len(a) > 0 && len(b) > 0 {
		first, n := ResponseAt(a[0])
		second, m := ResponseAt(b[0])
		switch {
		case first < second:
			to, a = append(to, a[0]), a[1:]
		case first > second:
			to, b = append(to, b[0]), b[1:]
		default:
			to, a, b = AppendResponses(to, first, n+m), a[1:], b[1:]
		}
	}
	return append(append(to, a...), b...)
}

// ResponseQuantile returns the time that so many percent of the responses do not exceed, µs: within its bucket it is
// estimated. ok is false without responses.
func ResponseQuantile(t *ResponseTimes, percent float64) (micros uint64, ok bool) {
	return responseQuantile(percent, float64(ResponseCount(t)), t.GetMaxMicros(),
		func(yield func(int, float64) bool) {
			for _, n := range t.GetHistogram() {
				bucket, count := ResponseAt(n)
				if !yield(bucket, float64(count)) {
					return
				}
			}
		})
}

// ResponseCount returns the number of responses.
func ResponseCount(t *ResponseTimes) (count uint64) {
	for _, n := range t.GetHistogram() {
		_, more := ResponseAt(n)
		count += more
	}
	return count
}

// responseQuantile returns the middle of the bucket with a rank, which is within 4.6 % of the time that has it. To
// interpolate would be worse: times crowd, and are not spread evenly over a bucket. The longest time bounds its bucket.
func responseQuantile(
	percent, all float64, longest uint64, each func(yield func(bucket int, count float64) bool),
) (micros uint64, ok bool) {
	if all <= 0 {
		return 0, false
	}
	rank := max(math.Ceil(all*percent/100), 1)
	below, middle := 0.0, 0.0
	each(func(bucket int, count float64) bool {
		from, to := ResponseBounds(bucket)
		if longest > 0 {
			to = max(min(to, float64(longest)), from)
		}
		middle = (from + to) / 2
		below += count
		return below < rank
	})
	return uint64(math.Round(middle)), true
}
