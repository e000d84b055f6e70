package metrics

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// responseTimes are those of a flow's last event, which are cumulative.
type responseTimes struct {
	histogram []uint64 // as in event.ResponseTimes
	micros    uint64   // of all together
}

// countResponses counts by how much the response times of a flow have grown. baseline: what it has is not counted.
func (t *Table) countResponses(f *flow, h *half, baseline bool) {
	if !t.part.known(counterResponses) || !t.times.parse(t.part.text(counterResponses)) {
		return
	}
	latest := t.readTimes()
	if len(latest.histogram) == 0 {
		return
	}
	if f.times == nil {
		f.times = &responseTimes{}
	}
	if !baseline {
		if f.response == nil || f.response.gone || f.response.fold {
			f.response = t.row(famResponse, &t.subject, roleOf(h.server), scopeOf(h.peer))
		}
		f.response.observeResponses(f.times, &latest, t.time)
	}
	f.times.histogram = append(f.times.histogram[:0], latest.histogram...)
	f.times.micros = latest.micros
}

// readTimes returns the times in t.times. It refuses what is no list of numbers.
func (t *Table) readTimes() responseTimes {
	t.numbers = t.numbers[:0]
	for b := t.times.text(timesHistogram); len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 || len(t.numbers) == event.ResponseBuckets {
			return responseTimes{}
		}
		t.numbers, b = append(t.numbers, v), b[n:]
	}
	return responseTimes{t.numbers, t.times.number(timesTotal)}
}

// observeResponses adds the times that came since an earlier event. Each counts as the middle of its bucket.
func (r *row) observeResponses(before, latest *responseTimes, now int64) {
	old := before.histogram
	var count uint64
	for _, n := range latest.histogram {
		bucket, more := event.ResponseAt(n)
		for len(old) > 0 {
			other, had := event.ResponseAt(old[0])
			if other > bucket {
				break
			}
			if other == bucket {
				more -= min(more, had)
			}
			old = old[1:]
		}
		from, to := event.ResponseBounds(bucket)
		r.hist.observeMany(time.Duration((from+to)/2*float64(time.Microsecond)), more)
		count += more
	}
	if count > 0 && latest.micros > before.micros {
		r.hist.sum += time.Duration(latest.micros-before.micros) * time.Microsecond
	}
	if count > 0 {
		r.active += count
		r.touched = now
	}
}
