package model

import (
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// rowKey is the part of series that a row is of.
type rowKey struct {
	dims [3]text
	// of a group of single series: the series' id, or the ends of those that are over.
	id   string
	pair *endpointPair
}

// sum is the sum of series in a window.
type sum struct {
	group *Group
	key   rowKey
	// label is the name of what is no group's row.
	label string
	// dimensions are what the series have in common; none where they differ.
	dimensions dimensions
	protocol   event.Protocol
	members    int
	id         string

	amounts [maxAmounts]float64
	live    int
	srtt    float64 // sum over srtts flows
	srtts   int
	trend   [slots]float64
	latency *histogram
	// responses are the response times of the row's pods as clients, and as servers.
	responses [bothEnds]times
	gauges    []*gauge
	// processes are those that live.
	processes []*process

	// whole: the row is of both ends of its series, not only of the one that it is seen from.
	whole  bool
	window *queryWindow
}

// queryWindow is the time that a query covers.
type queryWindow struct {
	now     int64
	window  int // index in windows
	covered float64
	spec    *topicSpec
	// lines are the amounts that trends are of.
	lines [2]int
	// parts are how many seconds each part of the window covers.
	parts [slots]float64
}

func newQueryWindow(s *store, lines []Line, window int, now int64) *queryWindow {
	l := &queryWindow{now: now, window: window, spec: s.spec}
	for i := range l.lines {
		if i < len(lines) {
			l.lines[i] = lines[i].measure
		}
	}
	begin := s.started
	ring := min(window, rings-1)
	length := partOf[ring]
	first := (now/length - slots + 1) * length
	if window < rings {
		begin = max(begin, first)
	}
	// A rate over less than a second is not meaningful.
	l.covered = max(float64(now-begin)/1e9, 1)
	for i := range l.parts {
		from := max(first+int64(i)*length, s.started)
		to := min(first+int64(i+1)*length, now)
		l.parts[i] = max(float64(to-from)/1e9, float64(length)/2e9)
	}
	return l
}

// add counts a series, as seen from one of its ends.
func (r *sum) add(l *series, side int) {
	w := l.pair
	f := &w.dims[side]
	if r.members == 0 {
		r.dimensions, r.protocol, r.id = *f, w.protocol, l.id
	} else {
		for d := range f {
			if r.dimensions[d] != f[d] {
				r.dimensions[d] = none
			}
		}
		if r.protocol != w.protocol {
			r.protocol = event.Protocol_PROTOCOL_UNKNOWN
		}
		r.id = ""
	}
	r.members++
	flip := r.window.flip(w, side)
	if r.window.window >= rings {
		for i := range r.window.spec.amounts {
			if flip[i] < len(l.total) {
				r.amounts[i] += float64(l.total[flip[i]])
			}
		}
	}
	if l.ring != nil && r.window.window < rings {
		var in [maxAmounts]float32
		l.ring.sum(r.window.window, r.window.now/partOf[r.window.window], &in)
		for i := range r.window.spec.amounts {
			r.amounts[i] += float64(in[flip[i]])
		}
	}
	if l.gauge != nil {
		r.gauges = append(r.gauges, l.gauge)
	}
	if l.alive(r.window.now) {
		r.live++
		if l.process != nil {
			r.processes = append(r.processes, l.process)
		}
		if l.srttMicros != 0 {
			r.srtt += float64(l.srttMicros)
			r.srtts++
		}
	}
	if l.latencies != nil {
		if r.latency == nil {
			r.latency = new(histogram)
		}
		l.latencies.sum(r.window.window, r.window.now, r.latency)
	}
	end := clientEnd
	switch {
	case r.whole:
		end = bothEnds
	case w.flipped != (side == 1):
		end = serverEnd
	}
	r.addResponses(l, end)
}

// addTrend adds the time series of the window.
func (r *sum) addTrend(l *series, side int) {
	if l.ring == nil {
		return
	}
	flip := r.window.flip(l.pair, side)
	window := min(r.window.window, rings-1)
	l.ring.each(window, r.window.now/partOf[window], func(place int, part []float32) {
		for _, i := range r.window.lines {
			r.trend[place] += float64(part[flip[i]])
		}
	})
}

// flip is the index of each amount as seen from a side of a series.
func (l *queryWindow) flip(w *endpointPair, side int) *[maxAmounts]int {
	if w.flipped != (side == 1) {
		return &l.spec.flip
	}
	return &unflipped
}

// plus adds another sum; minus takes one away that was added.
func (r *sum) plus(o *sum, sign float64) {
	for i := range r.amounts {
		r.amounts[i] += sign * o.amounts[i]
	}
	r.live += int(sign) * o.live
	r.srtt += sign * o.srtt
	r.srtts += int(sign) * o.srtts
	switch {
	case len(o.processes) == 0:
	case sign > 0:
		r.processes = append(r.processes, o.processes...)
	default:
		r.processes = slices.DeleteFunc(r.processes, func(p *process) bool { return slices.Contains(o.processes, p) })
	}
	if len(o.gauges) > 0 {
		if sign > 0 {
			r.gauges = append(r.gauges, o.gauges...)
		} else {
			r.gauges = slices.DeleteFunc(r.gauges, func(g *gauge) bool { return slices.Contains(o.gauges, g) })
		}
	}
	for end := range o.responses {
		if sign > 0 {
			r.responses[end].add(&o.responses[end])
		} else {
			r.responses[end] = r.responses[end].minus(&o.responses[end])
		}
	}
	if o.latency != nil {
		if r.latency == nil {
			r.latency = new(histogram)
		}
		for i := range r.latency {
			r.latency[i] += sign * o.latency[i]
		}
	}
}

// name returns the name of the row.
func (r *sum) name() string {
	if r.label != "" {
		return r.label
	}
	if r.group.each {
		for _, d := range []dim{dimPod, dimNode} {
			if s := r.dimensions[d].Value(); s != "" {
				return s
			}
		}
		return ""
	}
	last := r.group.dims[len(r.group.dims)-1]
	name := r.dimensions[last].Value()
	if last == dimContainer {
		return r.dimensions[dimPod].Value() + "/" + name
	}
	return name
}

func (r *sum) workload() string {
	if w := r.dimensions[dimWorkload].Value(); !strings.HasPrefix(w, barePod) {
		return w
	}
	return ""
}

func (r *sum) windowMicros() uint64 { return uint64(r.window.covered * 1e6) }

func (r *sum) perSecond(amount int) float64 { return max(r.amounts[amount], 0) / r.window.covered }

// quantile returns a quantile in units of so many ns; nil without values.
func (r *sum) quantile(percent float64, unit uint64) *uint64 {
	if r.latency == nil {
		return nil
	}
	ns, ok := r.latency.quantile(percent)
	if !ok {
		return nil
	}
	ns /= unit
	return &ns
}

// whole rounds an amount to an integer.
func whole(f float64) uint64 { return uint64(max(f, 0) + 0.5) }

// fill makes the row's event, in one that may have been made before.
func (r *sum) fill(ev *event.Event) {
	ev.Time = uint64(r.window.now)
	ev.Namespace, ev.Pod = r.dimensions[dimNamespace].Value(), r.dimensions[dimPod].Value()
	ev.Container, ev.Node = r.dimensions[dimContainer].Value(), r.dimensions[dimNode].Value()
	r.window.spec.fill(ev, r)
}

// row returns the row with its event and trend.
func (r *sum) row() Row {
	ev := new(event.Event)
	r.fill(ev)
	row := Row{Key: Key{r.key}, Event: ev, Trend: make([]float64, slots)}
	for i := range row.Trend {
		row.Trend[i] = r.trend[i] / r.window.parts[i]
	}
	return row
}
