package bpf

// firstBucket is what the durations of the first bucket are less than, ns; each further one goes twice as far
// (bpf/lib/histogram.h).
const firstBucket = 128

// Quantile estimates what percent of the durations of a histogram are no longer than, ns: linearly within a bucket.
// It is 0 for an empty one.
func Quantile(buckets *[32]uint64, percent uint64) uint64 {
	var all uint64
	for _, n := range buckets {
		all += n
	}
	rank := max((all*percent+99)/100, 1)
	var below uint64
	for i, n := range buckets {
		if below+n < rank {
			below += n
			continue
		}
		low, high := uint64(0), uint64(firstBucket)<<i
		if i > 0 {
			low = high / 2
		}
		return low + uint64(float64(high-low)*(float64(rank-below)-0.5)/float64(n))
	}
	return 0
}
