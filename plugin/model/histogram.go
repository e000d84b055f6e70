package model

import "math/bits"

// buckets is how many a histogram has. The first is for what took less than 128 ns; each further one goes twice as far:
// the same as the kernel's own (bpf/lib/histogram.h).
const buckets = 32

const firstBucket = 128

// bucketOf is the bucket of a duration, ns.
func bucketOf(ns uint64) int { return min(bits.Len64(ns/firstBucket), buckets-1) }

// bounds are a bucket's, ns.
func bounds(bucket int) (from, to uint64) {
	if to = uint64(firstBucket) << bucket; bucket > 0 {
		from = to / 2
	}
	return from, to
}

// histogram counts durations.
type histogram [buckets]float64

func (h *histogram) all() (n float64) {
	for _, c := range h {
		n += c
	}
	return n
}

// quantile estimates what percent of the durations are no longer than, ns: linearly within a bucket. ok is false for an
// empty histogram.
func (h *histogram) quantile(percent float64) (ns uint64, ok bool) {
	all := h.all()
	if all <= 0 {
		return 0, false
	}
	rank := max(all*percent/100, min(all, 1))
	below := 0.0
	last := 0
	for i, n := range h {
		if n <= 0 {
			continue
		}
		if last = i; below+n < rank {
			below += n
			continue
		}
		from, to := bounds(i)
		return from + uint64(float64(to-from)*max(rank-below-0.5, 0)/n), true
	}
	_, to := bounds(last) // by a rounding of the last sum
	return to, true
}

// list returns the buckets from the first to the last non-empty one.
func (h *histogram) list() (all []Bucket) {
	first, last := -1, -1
	for i, n := range h {
		if n <= 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	if first < 0 {
		return nil
	}
	for i := first; i <= last; i++ {
		from, to := bounds(i)
		all = append(all, Bucket{From: from, To: to, Count: h[i]})
	}
	return all
}

// latencyParts is how many parts a window of latencies has: half as many as that of amounts, for they take more room.
const latencyParts = slots / 2

// latencies are the durations of each window.
type latencies struct {
	newest [rings]int64
	all    [buckets]float32
	parts  [rings][latencyParts][buckets]float32
}

func (l *latencies) add(now int64, bucket int, n float32) {
	l.all[bucket] += n
	for w, length := range partOf {
		number := now / (2 * length)
		l.roll(w, number)
		if number > l.newest[w]-latencyParts {
			l.parts[w][number%latencyParts][bucket] += n
		}
	}
}

func (l *latencies) roll(window int, number int64) {
	for n := max(l.newest[window]+1, number-latencyParts+1); n <= number; n++ {
		l.parts[window][n%latencyParts] = [buckets]float32{}
	}
	l.newest[window] = max(l.newest[window], number)
}

// sum adds what lies in a window that ends at now to h.
func (l *latencies) sum(window int, now int64, h *histogram) {
	if window >= rings {
		for i, n := range l.all {
			h[i] += float64(n)
		}
		return
	}
	number := now / (2 * partOf[window])
	for n := max(number-latencyParts+1, l.newest[window]-latencyParts+1); n <= min(number, l.newest[window]); n++ {
		for i, c := range l.parts[window][n%latencyParts] {
			h[i] += float64(c)
		}
	}
}
