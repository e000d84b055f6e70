package diff

import "time"

const (
	// maxParts is how many parts a recording is divided into; half of them, where its length was not known before.
	maxParts = 20
	// minWidth is the least length of a part: flows report their amounts once a second.
	minWidth = uint64(time.Second)
	// minSpan is the least length of a recording that has events.
	minSpan = uint64(time.Millisecond)
)

// clock divides the time of a recording into parts of equal length. Times are ns since the Unix epoch.
type clock struct {
	begun       bool
	start, last uint64
	width       uint64
	// fixed: the length of the recording is known, and the parts fit it.
	fixed bool
}

// newClock returns the clock of a recording. start and end are 0 where they are not known.
func newClock(start, end uint64) clock {
	c := clock{width: minWidth}
	if start != 0 && end > start {
		c.begun, c.fixed, c.start, c.last = true, true, start, end
		c.width = max((end-start+maxParts-1)/maxParts, minWidth)
	}
	return c
}

// see records that there was an event at a time. It reports by how many powers of two the parts have become longer: all
// series have to be folded as many times.
func (c *clock) see(at uint64) (folds int) {
	switch {
	case c.fixed:
		return 0
	case !c.begun:
		c.begun, c.start, c.last = true, at, at
		return 0
	}
	c.last = max(c.last, at)
	for (c.last-c.start)/c.width >= maxParts {
		c.width *= 2
		folds++
	}
	return folds
}

// part returns the part that a time is in. What is outside of the recording counts for its first or last part.
func (c *clock) part(at uint64) int {
	if at <= c.start {
		return 0
	}
	return int(min((min(at, c.last)-c.start)/c.width, maxParts-1))
}

// span is how long the recording is, ns.
func (c *clock) span() uint64 { return max(c.last-c.start, minSpan) }

// lengths returns the length of each part in seconds. A last part that is shorter than half of the others is not one:
// what it holds counts for the whole only.
func (c *clock) lengths() (all []float64) {
	left := c.span()
	for left > 0 && len(all) < maxParts {
		n := min(left, c.width)
		if n*2 < c.width && len(all) > 0 {
			break
		}
		all = append(all, float64(n)/1e9)
		left -= n
	}
	return all
}

// PartOf returns how long a part is of a recording of a known length: flows need no more than one update in it.
func PartOf(length time.Duration) time.Duration { return max(length/maxParts, time.Second) }
