package diff

import (
	"testing"
	"time"
)

var began = time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)

func TestClock_DividesAnyLength(t *testing.T) {
	for _, length := range []time.Duration{0, time.Millisecond, time.Second, 9 * time.Second, 10 * time.Second,
		61 * time.Second, time.Hour, 8 * 366 * 24 * time.Hour} {
		c := newClock(0, 0)
		start := uint64(began.UnixNano())
		c.see(start)
		c.see(start + uint64(length))
		var sum float64
		for _, n := range c.lengths() {
			sum += n
		}
		parts := len(c.lengths())
		if parts == 0 || parts > maxParts || length >= 10*time.Second && parts < maxParts/2 ||
			sum < length.Seconds()*0.9 || c.part(start+uint64(length)) >= maxParts {
			t.Errorf("%v: %d parts of %v s in all", length, parts, sum)
		}
	}
}

func TestSeries_SumsSurviveFolding(t *testing.T) {
	c := newClock(0, 0)
	var s series
	start := uint64(began.UnixNano())
	c.see(start)
	for i := range uint64(1000) {
		at := start + i*uint64(time.Second)
		for range c.see(at) {
			s.fold()
		}
		s.add(&c, at, 1)
	}
	var sum float32
	for i, n := range s.parts {
		if sum += n; n > 64 || n == 0 && i < len(c.lengths()) {
			t.Errorf("part %d has %v", i, n)
		}
	}
	if sum != 1000 || s.total != 1000 {
		t.Errorf("the parts have %v, the total is %v", sum, s.total)
	}
}
