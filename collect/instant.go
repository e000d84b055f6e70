package collect

import "time"

// instant is a time by the Collector's clock, ns since its epoch; 0: none. A time.Time is three times as large, and
// each open flow has six.
type instant int64

// at returns a time of now as an instant.
func (c *Collector) at(t time.Time) instant {
	if d := t.Sub(c.epoch); d != 0 {
		return instant(d)
	}
	return 1
}

func (i instant) add(d time.Duration) instant { return i + instant(d) }

func (i instant) since(earlier instant) time.Duration { return time.Duration(i - earlier) }
