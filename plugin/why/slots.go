package why

import (
	"math"
	"time"
)

// minWeight is the part of a slot, over all slots of a mean, that has to be known.
const minWeight = 0.2

// maxValue is the largest value that a series takes. Larger ones are no measurements.
const maxValue = 1e18

// mean is a mean over time of what was known.
type mean struct{ sum, weight float32 }

// series is numbers over the slots of the window: row r of slot s is means[s*rows+r].
type series struct {
	rows  int
	means []mean
}

func newSeries(rows, slots int) series { return series{rows, make([]mean, rows*slots)} }

// fold makes one slot of each two: their sum, times scale.
func (s *series) fold(scale float32) {
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

func (s *series) slots() int { return len(s.means) / max(s.rows, 1) }

// around is the mean of a row over the slots within reach of one; NaN where too little is known.
func (s *series) around(row, slot, reach int) float64 {
	var sum, weight float32
	for i := max(slot-reach, 0); i <= min(slot+reach, s.slots()-1); i++ {
		m := s.means[i*s.rows+row]
		sum += m.sum
		weight += m.weight
	}
	if weight < minWeight {
		return nan
	}
	return float64(sum) / float64(weight)
}

// whole is the mean of a row over the window.
func (s *series) whole(row int) float64 { return s.around(row, 0, s.slots()) }

// slotClock divides a window into slots. Times are ns of one node's clock.
type slotClock struct {
	start, width uint64
	slots        int
	// last is the time of the newest event.
	last uint64
}

// seen is how many slots have begun.
func (c *slotClock) seen() int {
	if c.start == 0 || c.last <= c.start {
		return 0
	}
	return min(int((c.last-c.start+c.width-1)/c.width), c.slots)
}

// add records that a number was v between two times. Impossible values are left out.
func (c *slotClock) add(s *series, row int, from, to uint64, v float64) {
	if math.IsNaN(v) || v < 0 || v > maxValue || to <= c.start || to <= from {
		return
	}
	from = max(from, c.start)
	end := c.start + uint64(c.slots)*c.width
	if from >= end {
		return
	}
	to = min(to, end)
	for at := from; at < to; {
		i := (at - c.start) / c.width
		next := min(c.start+(i+1)*c.width, to)
		part := float32(float64(next-at) / float64(c.width))
		m := &s.means[int(i)*s.rows+row]
		m.sum += float32(v) * part
		m.weight += part
		at = next
	}
}

// addAmount spreads an amount evenly over the time between two times. Amounts have no weights: see rate.
func (c *slotClock) addAmount(s *series, row int, from, to uint64, amount float64) {
	if to <= from || to <= c.start || amount <= 0 || amount > maxValue {
		return
	}
	end := c.start + uint64(c.slots)*c.width
	for at := max(from, c.start); at < min(to, end); {
		i := (at - c.start) / c.width
		next := min(c.start+(i+1)*c.width, to, end)
		s.means[int(i)*s.rows+row].sum += float32(amount * float64(next-at) / float64(to-from))
		at = next
	}
}

// rate is an amount per second over the slots within reach of one. Without any amount it is 0.
func (c *slotClock) rate(s *series, row, slot, reach int) float64 {
	var sum float32
	slots := 0
	for i := max(slot-reach, 0); i <= min(slot+reach, c.seen()-1); i++ {
		sum += s.means[i*s.rows+row].sum
		slots++
	}
	if slots == 0 {
		return nan
	}
	return float64(sum) / (float64(slots) * float64(c.width) / 1e9)
}

// samplePeriod is the time that a sample covers. A period beyond an hour is none.
func samplePeriod(at, micros uint64) (from, to uint64) {
	const longest = uint64(time.Hour)
	d := longest
	if micros < longest/1000 {
		d = micros * 1000
	}
	return at - min(d, at), at
}
