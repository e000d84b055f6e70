package pods

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxResponsePeers is how many peers of all pods have a histogram.
const maxResponsePeers = 8192

// responses are the times that a pod waited for a peer in the window.
type responses struct {
	count  [event.ResponseBuckets]uint64
	all    uint64
	waited uint64 // µs
	most   uint64 // µs
}

// addResponses adds the responses that the pod that opened a connection has waited for since the last event.
func (w *Watch) addResponses(p *pod, f *event.Flow, last *flow) {
	now := f.GetSrcCounters().GetResponses()
	if len(now.GetHistogram()) == 0 {
		return
	}
	x := p.peer(f.GetDst())
	if x == nil {
		return
	}
	if x.responses == nil {
		if w.histograms == maxResponsePeers {
			w.full = true
			return
		}
		w.histograms++
		x.responses = &responses{}
	}
	r := x.responses
	// Counts are since the trace began, so that those of an earlier window are taken off.
	for _, n := range now.GetHistogram() {
		bucket, count := event.ResponseAt(n)
		r.count[bucket] += count
		r.all += count
	}
	for _, n := range last.responses {
		bucket, count := event.ResponseAt(n)
		count = min(count, r.count[bucket])
		r.count[bucket] -= count
		r.all -= min(count, r.all)
	}
	r.waited += now.GetTotalMicros() - min(last.waited, now.GetTotalMicros())
	r.most = max(r.most, now.GetMaxMicros())
	last.responses = append(last.responses[:0], now.GetHistogram()...)
	last.waited = now.GetTotalMicros()
}

// quantile is the time that so many percent of the responses do not exceed, µs.
func (r *responses) quantile(percent float64) uint64 {
	histogram := make([]uint64, 0, 16)
	for bucket, n := range r.count {
		if n > 0 {
			histogram = event.AppendResponses(histogram, bucket, n)
		}
	}
	most := r.most
	micros, _ := event.ResponseQuantile(&event.ResponseTimes{Histogram: histogram, MaxMicros: most}, percent)
	return micros
}

// waiting is the part of some time that the pod waited for the responses.
func (r *responses) waiting(seconds float64) float64 {
	return float64(r.waited) / float64(time.Second/time.Microsecond) / max(seconds, 1)
}

// slowest is the peer that the pod waited for longest; nil without responses.
func (p *pod) slowest() (name string, worst *peer) {
	for k, x := range p.peers {
		if x.responses == nil || x.responses.all == 0 {
			continue
		}
		if worst == nil || x.responses.waited > worst.responses.waited ||
			x.responses.waited == worst.responses.waited && k.name < name {
			name, worst = k.name, x
		}
	}
	return name, worst
}
