package why

import "math"

// nan is a number that is not known.
var nan = math.NaN()

func known(x float64) bool { return !math.IsNaN(x) }

// or is x, or a substitute where it is not known.
func or(x, substitute float64) float64 {
	if known(x) {
		return x
	}
	return substitute
}

// total adds what is known; NaN where nothing is.
func total(list ...float64) float64 {
	sum := nan
	for _, x := range list {
		if known(x) {
			sum = or(sum, 0) + x
		}
	}
	return sum
}

// most is the largest of what is known; NaN where nothing is.
func most(list ...float64) float64 {
	best := nan
	for _, x := range list {
		if known(x) && (!known(best) || x > best) {
			best = x
		}
	}
	return best
}

// ramp is 0 at from, 1 at to, and in proportion between them. from may be the larger; the two differ.
func ramp(x, from, to float64) float64 { return min(max((x-from)/(to-from), 0), 1) }

func boolSignal(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
