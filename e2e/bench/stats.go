package bench

import (
	"math"
	"slices"
)

// median returns the median of values, and sorts them. Of none it is NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// interval returns the 95 % confidence interval of the median from order statistics, which assume no distribution of
// the values. With fewer than six values it returns the whole range.
func interval(values []float64) (low, high float64) {
	if len(values) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	// The number of values below the median is binomial(n, ½). The bounds are the k-th values from both ends, with the
	// largest k for which P(X ≤ k-1) ≤ 2.5 %.
	k, below := 0, 0.0
	for p := math.Pow(0.5, float64(n)); k < n/2; k++ {
		below += p
		if below > 0.025 {
			break
		}
		p *= float64(n-k) / float64(k+1)
	}
	i := max(k-1, 0)
	return values[i], values[n-1-i]
}
