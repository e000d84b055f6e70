package why

import "math"

// mean is a mean over time of what was known.
type mean struct{ sum, weight float32 }

// series is numbers over the slots of the window: row r of slot s stands at s*rows+r.
type series struct {
	rows  int
	means []mean
}

func newSeries(rows, slots int) series { return series{rows, make([]mean, rows*slots)} }

// fold makes one slot of each two: their sum, times scale.
func (s *series) fold(scale float32) {
	n := len(s.means) / max(s.rows, 1)
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

// clock divides a window into slots. Times are ns of one node's clock.
type clock struct {
	start, width uint64
	slots        int
	// last is the newest time that was seen.
	last uint64
}

// add says that a number was v from one time to another. What cannot be a number of anything is left away.
func (c *clock) add(s *series, row int, from, to uint64, v float64) {
	const most = 1e18
	if math.IsNaN(v) || v < 0 || v > most || to <= c.start || to <= from {
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

// least is how much of a slot has to be known.
const least = 0.2

// around is the mean of a row over the slots around one; NaN where too little is known.
func (s *series) around(row, slot, reach int) float64 {
	var sum, weight float32
	n := len(s.means) / max(s.rows, 1)
	for i := max(slot-reach, 0); i <= min(slot+reach, n-1); i++ {
		m := s.means[i*s.rows+row]
		sum += m.sum
		weight += m.weight
	}
	if weight < least {
		return math.NaN()
	}
	return float64(sum) / float64(weight)
}

// whole is the mean of a row over the window.
func (s *series) whole(row int) float64 {
	n := len(s.means) / max(s.rows, 1)
	return s.around(row, n/2, n)
}

// known reports whether x is.
func known(x float64) bool { return !math.IsNaN(x) }

var nan = math.NaN()

// total adds what is known; NaN where nothing is.
func total(list ...float64) float64 {
	sum := nan
	for _, x := range list {
		switch {
		case !known(x):
		case known(sum):
			sum += x
		default:
			sum = x
		}
	}
	return sum
}

// most is the largest of what is known.
func most(list ...float64) float64 {
	best := nan
	for _, x := range list {
		if known(x) && (!known(best) || x > best) {
			best = x
		}
	}
	return best
}
