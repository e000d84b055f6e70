package cuda

import "time"

// costs are what a probe takes of the thread that runs into it.
type costs struct{ emulated, stepped time.Duration }

// usual are those of a machine of its own, where they cannot be measured. In virtual machines they are up to ten
// times as much.
var usual = costs{emulated: 600 * time.Nanosecond, stepped: 12 * time.Microsecond}

const (
	// costReturn is what seeing a return takes besides.
	costReturn = 2 * time.Microsecond
	costUnit   = 100 * time.Nanosecond
)

func (c costs) of(s *Site) time.Duration {
	cost := c.emulated
	if !s.Emulated {
		cost = c.stepped
	}
	if s.function.timed() {
		cost += costReturn
	}
	return cost
}

const (
	// Share is what probes may cost one process, of a core; all processes that nobody asked about count as one.
	Share = 0.05
	// judged is how often that is checked, maxOverruns how often in a row it may be more.
	judged      = time.Second
	maxOverruns = 3
)

// Rest is how long probes stay off at first. Whoever made them cost too much, traced or not, may have ended by then.
const (
	Rest     = time.Minute
	maxRests = 16 // times Rest
)

// rest is how long a group of probes stays off.
type rest struct {
	until  uint64 // ns, monotonic
	length time.Duration
}

// begin makes the rest that begins now: twice as long as the last one, if that ended not long ago.
func (r *rest) begin(now uint64, first time.Duration) {
	switch longest := maxRests * first; {
	case r.length == 0 || now-r.until > uint64(longest):
		r.length = first
	default:
		r.length = min(2*r.length, longest)
	}
	r.until = now + uint64(r.length)
}

// spending is what probes have cost, by group, in costUnit.
type spending = [8]uint64

// budget finds the groups whose probes cost too much.
type budget struct {
	share float64
	at    uint64 // ns, monotonic
	last  map[objectProcess]spending
	over  int
}

// judge takes the time spent on each process until now. It returns the group to detach, if there is one.
func (b *budget) judge(now uint64, spent map[objectProcess]spending) (group int, over bool) {
	elapsed := time.Duration(now - b.at)
	if b.at != 0 && elapsed < judged {
		return 0, false
	}
	var most uint64
	for p, s := range spent {
		last, known := b.last[p]
		if !known && b.at == 0 {
			continue // it may be of any time
		}
		var all, highest uint64
		dearest := 0
		for g := range groups {
			n := s[g] - last[g]
			all += n
			if n > highest {
				highest, dearest = n, g
			}
		}
		if all > most {
			most, group = all, dearest
		}
	}
	first := b.at == 0
	b.at, b.last = now, spent
	if first || float64(most)*float64(costUnit) <= b.share*float64(elapsed) {
		b.over = 0
		return 0, false
	}
	if b.over++; b.over < maxOverruns {
		return 0, false
	}
	b.over = 0
	return group, true
}
