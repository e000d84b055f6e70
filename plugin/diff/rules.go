package diff

import (
	"math"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The rules of what is a difference. docs/diff.md states them.
const (
	// maxDeviations is how many standard deviations between the parts of a recording two values may be apart without
	// being a change.
	maxDeviations = 3
	// leastShare is the least change, as a part of the larger value.
	leastShare = 0.2
	// leastCount is how many events make a thing, or a change, certain.
	leastCount = 5
	// leastParts is in how many parts of a recording a thing is that is certain, and how many parts a recording needs
	// for its variation to be known.
	leastParts = 3
	// leastExpected is how many events of a thing would have been expected in the other recording, by its rate, for
	// their absence to be worth a row.
	leastExpected = 0.5

	certain  = event.Certainty_CERTAINTY_CERTAIN
	rare     = event.Certainty_CERTAINTY_RARE
	unsteady = event.Certainty_CERTAINTY_UNSTEADY

	perSecond      = event.DifferenceUnit_DIFFERENCE_UNIT_PER_SECOND
	bytesPerSecond = event.DifferenceUnit_DIFFERENCE_UNIT_BYTES_PER_SECOND
	micros         = event.DifferenceUnit_DIFFERENCE_UNIT_MICROS
)

// leastDifference is the least change by unit: 0.05 events or 100 bytes a second, 100 µs.
var leastDifference = map[event.DifferenceUnit]float64{perSecond: 0.05, bytesPerSecond: 100, micros: 100}

func unitOf(m measure) event.DifferenceUnit {
	switch m {
	case sent, received:
		return bytesPerSecond
	case latency, response:
		return micros
	}
	return perSecond
}

// sample is a measure of a thing in one recording.
type sample struct {
	known bool
	value float64 // per second, or a mean
	// variance is between the parts.
	variance float64
	parts    int
	seconds  float64 // of the recording
}

// rateOf is a measure per second.
func (p *Profile) rateOf(t *thing, m measure) sample {
	s := sample{known: true, seconds: float64(p.clock.span()) / 1e9}
	s.value = math.Max(t.total(m), 0) / s.seconds
	lengths := p.clock.lengths()
	s.parts = len(lengths)
	if s.parts == 0 {
		return s
	}
	var sum, squares float64
	for i, length := range lengths {
		x := 0.0
		if t != nil && t.amount[m] != nil {
			x = float64(t.amount[m].parts[i]) / length
		}
		sum += x
		squares += x * x
	}
	s.variance = variance(sum, squares, s.parts)
	return s
}

// meanOf is the mean of amounts, of which n is the number.
func (p *Profile) meanOf(t *thing, m, n measure) sample {
	s := sample{seconds: float64(p.clock.span()) / 1e9}
	if t.total(m) <= 0 || t.total(n) < 0.5 {
		return s
	}
	s.known, s.value = true, t.total(m)/t.total(n)
	var sum, squares float64
	for i := range p.clock.lengths() {
		if count := float64(t.amount[n].parts[i]); count >= 0.5 {
			x := float64(t.amount[m].parts[i]) / count
			sum += x
			squares += x * x
			s.parts++
		}
	}
	s.variance = variance(sum, squares, s.parts)
	return s
}

// variance is that of n values, by their sum and the sum of their squares.
func variance(sum, squares float64, n int) float64 {
	if n < 2 {
		return 0
	}
	return math.Max(squares-sum*sum/float64(n), 0) / float64(n-1)
}

// pooled is the standard deviation between the parts of both recordings.
func pooled(a, b *sample) float64 { return math.Sqrt((a.variance + b.variance) / 2) }

// chance is the standard deviation of the difference between two rates of events that are independent of each other, as
// those of a Poisson process: even where all parts are alike, few events say little.
func chance(a, b *sample) float64 { return math.Sqrt(a.value/a.seconds + b.value/b.seconds) }

// judgeChange returns how certain it is that two values differ.
func judgeChange(a, b *sample, unit event.DifferenceUnit) event.Certainty {
	d := math.Abs(a.value - b.value)
	switch {
	case a.parts < leastParts || b.parts < leastParts:
		return unsteady
	case unit == perSecond && (d*math.Min(a.seconds, b.seconds) < leastCount || d <= maxDeviations*chance(a, b)):
		return unsteady
	case d < leastDifference[unit], d < leastShare*math.Max(a.value, b.value), d <= maxDeviations*pooled(a, b):
		return unsteady
	}
	return certain
}

// judgePresence returns how certain it is that the other recording, which lasted so many seconds, lacks a thing for
// another reason than chance.
func (p *Profile) judgePresence(seen *series, otherSeconds float64) event.Certainty {
	seconds := float64(p.clock.span()) / 1e9
	n := math.Round(seen.total)
	parts := 0
	for i := range p.clock.lengths() {
		if seen.parts[i] > 1e-3 {
			parts++
		}
	}
	// The events that the other recording would have had at the same rate.
	expected := n * math.Min(otherSeconds/seconds, 1)
	switch {
	case expected < leastExpected:
		return unsteady
	case expected < leastCount || parts < leastParts:
		return rare
	}
	return certain
}
