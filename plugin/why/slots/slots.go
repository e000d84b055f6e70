// Package slots keeps numbers over the time of a window, which it divides into slots: of what a node reports with times
// of its own clock, in bounded memory.
package slots

import (
	"math"
	"time"

	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// minWeight is the part of a slot, over all slots of a mean, that has to be known.
const minWeight = 0.2

// maxValue is the largest value that a Series takes. Larger ones are no measurements.
const maxValue = 1e18

// mean is a mean over time of what was known.
type mean struct{ sum, weight float32 }

// Series is numbers over the slots of the window: row r of slot s is means[s*rows+r].
type Series struct {
	rows  int
	means []mean
}

// NewSeries returns rows of numbers over a number of slots.
func NewSeries(rows, slots int) Series { return Series{rows, make([]mean, rows*slots)} }

// Fold makes one slot of each two: their sum, times scale.
func (s *Series) Fold(scale float32) {
	n := s.slots()
	for slot := range n {
		for row := range s.rows {
			var both mean
			for i := 2 * slot; i < min(2*slot+2, n); i++ {
				m := s.means[i*s.rows+row]
				both.sum += m.sum * scale
				both.weight += m.weight * scale
			}
			s.means[slot*s.rows+row] = both
		}
	}
}

func (s *Series) slots() int { return len(s.means) / max(s.rows, 1) }

// Around is the mean of a row over the slots within reach of one; NaN where too little is known.
func (s *Series) Around(row, slot, reach int) float64 {
	var sum, weight float32
	for i := max(slot-reach, 0); i <= min(slot+reach, s.slots()-1); i++ {
		m := s.means[i*s.rows+row]
		sum += m.sum
		weight += m.weight
	}
	if weight < minWeight {
		return engine.NaN
	}
	return float64(sum) / float64(weight)
}

// Whole is the mean of a row over the window.
func (s *Series) Whole(row int) float64 { return s.Around(row, 0, s.slots()) }

// Clock divides a window into slots. Times are ns of one node's clock.
type Clock struct {
	Start, Width uint64
	Slots        int
	// Last is the time of the newest event.
	Last uint64
}

// Seen is how many slots have begun.
func (c *Clock) Seen() int {
	if c.Start == 0 || c.Last <= c.Start {
		return 0
	}
	return min(int((c.Last-c.Start+c.Width-1)/c.Width), c.Slots)
}

// Add records that a number was v between two times. Impossible values are left out.
func (c *Clock) Add(s *Series, row int, from, to uint64, v float64) {
	if math.IsNaN(v) || v < 0 || v > maxValue || to <= c.Start || to <= from {
		return
	}
	from = max(from, c.Start)
	end := c.Start + uint64(c.Slots)*c.Width
	if from >= end {
		return
	}
	to = min(to, end)
	for at := from; at < to; {
		i := (at - c.Start) / c.Width
		next := min(c.Start+(i+1)*c.Width, to)
		part := float32(float64(next-at) / float64(c.Width))
		m := &s.means[int(i)*s.rows+row]
		m.sum += float32(v) * part
		m.weight += part
		at = next
	}
}

// AddAmount spreads an amount evenly over the time between two times. Amounts have no weights: see Rate.
func (c *Clock) AddAmount(s *Series, row int, from, to uint64, amount float64) {
	if to <= from || to <= c.Start || amount <= 0 || amount > maxValue {
		return
	}
	end := c.Start + uint64(c.Slots)*c.Width
	for at := max(from, c.Start); at < min(to, end); {
		i := (at - c.Start) / c.Width
		next := min(c.Start+(i+1)*c.Width, to, end)
		s.means[int(i)*s.rows+row].sum += float32(amount * float64(next-at) / float64(to-from))
		at = next
	}
}

// Rate is an amount per second over the slots within reach of one. Without any amount it is 0.
func (c *Clock) Rate(s *Series, row, slot, reach int) float64 {
	var sum float32
	slots := 0
	for i := max(slot-reach, 0); i <= min(slot+reach, c.Seen()-1); i++ {
		sum += s.means[i*s.rows+row].sum
		slots++
	}
	if slots == 0 {
		return engine.NaN
	}
	return float64(sum) / (float64(slots) * float64(c.Width) / 1e9)
}

// SamplePeriod is the time that a sample covers. A period beyond an hour is none.
func SamplePeriod(at, micros uint64) (from, to uint64) {
	const longest = uint64(time.Hour)
	d := longest
	if micros < longest/1000 {
		d = micros * 1000
	}
	return at - min(d, at), at
}

// Clear forgets all numbers.
func (s *Series) Clear() { clear(s.means) }
