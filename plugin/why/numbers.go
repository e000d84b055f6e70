package why

import "github.com/orb8-dev/kubectl-orb8/plugin/why/engine"

// nan is an unknown number.
var nan = engine.NaN

func known(x float64) bool { return engine.Known(x) }

// or returns x, or a substitute if x is unknown.
func or(x, substitute float64) float64 {
	if known(x) {
		return x
	}
	return substitute
}

// total sums the known values; NaN without any.
func total(list ...float64) float64 {
	sum := nan
	for _, x := range list {
		if known(x) {
			sum = or(sum, 0) + x
		}
	}
	return sum
}

// most returns the largest known value; NaN without any.
func most(list ...float64) float64 {
	best := nan
	for _, x := range list {
		if known(x) && (!known(best) || x > best) {
			best = x
		}
	}
	return best
}

// ramp is 0 at from, 1 at to, and in proportion between them.
func ramp(x, from, to float64) float64 { return engine.Ramp(x, from, to) }

func boolSignal(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
