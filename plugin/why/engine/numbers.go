package engine

import "math"

// NaN is a number that is not known.
var NaN = math.NaN()

// Known reports whether x is known.
func Known(x float64) bool { return !math.IsNaN(x) }

// Ramp is 0 at from, 1 at to, and in proportion between them. from may be the larger; the two differ.
func Ramp(x, from, to float64) float64 { return min(max((x-from)/(to-from), 0), 1) }
