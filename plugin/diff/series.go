package diff

import (
	"math"
)

// maxAmount is the largest amount that is counted at once. Larger ones are no measurements.
const maxAmount = 1e18

// series is an amount by parts of a recording.
type series struct {
	total float64
	parts [maxParts]float32
}

// add counts an amount at a time.
func (s *series) add(c *clock, at uint64, amount float64) {
	if !(math.Abs(amount) <= maxAmount) {
		return
	}
	s.total += amount
	s.parts[c.part(at)] += float32(amount)
}

// spread counts an amount evenly over the time between two times.
func (s *series) spread(c *clock, from, to uint64, amount float64) {
	from, to = min(max(from, c.start), c.last), min(to, c.last)
	if to <= from || c.part(from) == c.part(to) {
		s.add(c, to, amount)
		return
	}
	if !(math.Abs(amount) <= maxAmount) {
		return
	}
	s.total += amount
	for at := from; at < to; {
		i := c.part(at)
		next := to
		if i < maxParts-1 {
			next = min(c.start+uint64(i+1)*c.width, to)
		}
		s.parts[i] += float32(amount * float64(next-at) / float64(to-from))
		at = next
	}
}

// fold makes one part of each two.
func (s *series) fold() {
	for i := range s.parts {
		var sum float32
		if 2*i+1 < maxParts {
			sum = s.parts[2*i] + s.parts[2*i+1]
		}
		s.parts[i] = sum
	}
}

// merge adds what another series of the same recording has counted.
func (s *series) merge(other *series) {
	s.total += other.total
	for i := range s.parts {
		s.parts[i] += other.parts[i]
	}
}
