package model

import "github.com/orb8-dev/kubectl-orb8/event"

// times is a histogram of response times, as event.ResponseTimes has it: sparse, since most flows have few buckets.
type times struct {
	histogram []uint64
	maxMicros uint64
}

// add adds other times.
func (t *times) add(o *times) {
	if len(o.histogram) > 0 {
		t.histogram = event.MergeResponses(nil, t.histogram, o.histogram)
		t.maxMicros = max(t.maxMicros, o.maxMicros)
	}
}

// minus returns these times without others that were added before.
func (t *times) minus(o *times) (remaining times) {
	taken := o.histogram
	for _, n := range t.histogram {
		bucket, count := event.ResponseAt(n)
		for len(taken) > 0 {
			other, m := event.ResponseAt(taken[0])
			if other > bucket {
				break
			}
			if other == bucket {
				count -= min(count, m)
			}
			taken = taken[1:]
		}
		if count > 0 {
			remaining.histogram = event.AppendResponses(remaining.histogram, bucket, count)
			_, to := event.ResponseBounds(bucket)
			remaining.maxMicros = min(uint64(to), t.maxMicros)
		}
	}
	return remaining
}

// grown returns by how much the times of a later event have grown. The longest of them is exact if it is the longest of
// all.
func (t *times) grown(later *times) times {
	remaining := later.minus(t)
	if len(remaining.histogram) > 0 && later.maxMicros > t.maxMicros {
		remaining.maxMicros = later.maxMicros
	}
	return remaining
}

// event returns the times as an event has them.
func (t *times) event() *event.ResponseTimes {
	return &event.ResponseTimes{Histogram: t.histogram, MaxMicros: t.maxMicros}
}

// timesPart is what came in a part of a window.
type timesPart struct {
	number int64 // of the part, by the clock
	times
}

// timesRing is the response times of each window, of one end of a flow or of several.
type timesRing struct {
	all   times
	parts [rings][latencyParts]timesPart
}

func (r *timesRing) add(now int64, t *times) {
	r.all.add(t)
	for w, length := range partOf {
		r.addPart(w, now/(2*length), t)
	}
}

func (r *timesRing) addPart(window int, number int64, t *times) {
	p := &r.parts[window][number%latencyParts]
	if p.number < number {
		*p = timesPart{number: number}
	}
	if p.number == number {
		p.add(t)
	}
}

// sum adds what lies in a window that ends at now to t.
func (r *timesRing) sum(window int, now int64, t *times) {
	if window >= rings {
		t.add(&r.all)
		return
	}
	newest := now / (2 * partOf[window])
	for i := range r.parts[window] {
		if p := &r.parts[window][i]; p.number > newest-latencyParts && p.number <= newest {
			t.add(&p.times)
		}
	}
}

func (r *timesRing) merge(other *timesRing) {
	r.all.add(&other.all)
	for w := range other.parts {
		for i := range other.parts[w] {
			if p := &other.parts[w][i]; len(p.histogram) > 0 {
				r.addPart(w, p.number, &p.times)
			}
		}
	}
}

// The ends of a flow, as indices.
const (
	clientEnd = iota
	serverEnd
	bothEnds
)

// responses are the response times of a series, by end; nil where there are none.
type responses struct {
	rings [bothEnds]*timesRing
	seen  [bothEnds]times // of the last event: they are cumulative
}

// addResponses counts by how much the response times of a flow have grown since its last event. baseline: what it has
// is from before all windows.
func (l *series) addResponses(f *event.Flow, now int64, baseline bool) {
	for end, c := range [...]*event.Counters{f.GetSrcCounters(), f.GetDstCounters()} {
		t := c.GetResponses()
		if len(t.GetHistogram()) == 0 {
			continue
		}
		if l.responses == nil {
			l.responses = &responses{}
		}
		seen := &l.responses.seen[end]
		latest := times{histogram: t.GetHistogram(), maxMicros: t.GetMaxMicros()}
		if !baseline {
			if more := seen.grown(&latest); len(more.histogram) > 0 {
				l.responses.ring(end).add(now, &more)
			}
		}
		seen.histogram, seen.maxMicros = append(seen.histogram[:0], latest.histogram...), latest.maxMicros
	}
}

func (r *responses) ring(end int) *timesRing {
	if r.rings[end] == nil {
		r.rings[end] = &timesRing{}
	}
	return r.rings[end]
}

// mergeResponses adds those of another series.
func (l *series) mergeResponses(other *series) {
	if other.responses == nil {
		return
	}
	if l.responses == nil {
		l.responses = &responses{}
	}
	for end, ring := range other.responses.rings {
		if ring != nil {
			l.responses.ring(end).merge(ring)
		}
	}
}

// addResponses adds the response times of a series in the window: of an end, or of both.
func (r *sum) addResponses(l *series, end int) {
	if l.responses == nil {
		return
	}
	for i, ring := range l.responses.rings {
		if ring != nil && (end == bothEnds || end == i) {
			ring.sum(r.window.window, r.window.now, &r.responses[i])
		}
	}
}

// fillResponses sets the columns of response times: as the row's pods have them of others, and of themselves.
func (r *sum) fillResponses(t *event.NetworkTop) {
	for end, to := range [bothEnds]struct{ count, p50, p99, longest **uint64 }{
		{&t.Responses, &t.ResponseP50Micros, &t.ResponseP99Micros, &t.ResponseMaxMicros},
		{&t.Served, &t.ServedP50Micros, &t.ServedP99Micros, &t.ServedMaxMicros},
	} {
		*to.count, *to.p50, *to.p99, *to.longest = nil, nil, nil, nil
		all := r.responses[end].event()
		if n := event.ResponseCount(all); n > 0 {
			p50, _ := event.ResponseQuantile(all, 50)
			p99, _ := event.ResponseQuantile(all, 99)
			*to.count, *to.p50, *to.p99, *to.longest = &n, &p50, &p99, &all.MaxMicros
		}
	}
}

// responseP99 returns the 99th percentile of clients' response times, or of servers' where no client is observed; nil:
// there was no response.
func (r *sum) responseP99() *uint64 {
	for _, end := range [...]int{clientEnd, serverEnd} {
		if p99, ok := event.ResponseQuantile(r.responses[end].event(), 99); ok {
			return &p99
		}
	}
	return nil
}
