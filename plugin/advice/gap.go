package advice

import (
	"fmt"
	"time"
)

// Gap describes a time in which nothing was seen of a node, by the wall clock: the monotonic clock stops while the
// machine sleeps.
func Gap(since, until time.Time) string {
	took := until.Round(0).Sub(since.Round(0)).Seconds()
	return fmt.Sprintf("nothing was seen from %s to %s (%.1f s)", Clock(since), Clock(until), took)
}

// Clock formats a time of day, to the millisecond.
func Clock(t time.Time) string { return t.Format("15:04:05.000") }
