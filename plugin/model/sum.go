package model

import (
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// rowKey is the part of leaves that a row is of.
type rowKey struct {
	dims [3]text
	// of a group of single leaves: the leaf's id, or the ends of those that are over.
	id  string
	who *who
}

// sum is what leaves come to in a window.
type sum struct {
	group *Group
	key   rowKey
	// label is the name of what is no group's row.
	label string
	// face is what the leaves have in common; none where they differ.
	face     face
	protocol event.Protocol
	members  int
	id       string

	amounts [maxAmounts]float64
	live    int
	srtt    float64 // sum over srtts flows
	srtts   int
	trend   [slots]float64
	latency *histogram
	gauges  []*gauge
	// processes are those that live.
	processes []*process

	look *look
}

// look is when and how far back a sum looks.
type look struct {
	now     int64
	window  int // index in Windows
	covered float64
	form    *form
	// lines are the amounts that trends are of.
	lines [2]int
	// parts are how many seconds each part of the window covers.
	parts [slots]float64
}

func newLook(s *store, lines []Line, window int, now int64) *look {
	l := &look{now: now, window: window, form: s.form}
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
	// Less than a second says little about a rate.
	l.covered = max(float64(now-begin)/1e9, 1)
	for i := range l.parts {
		from := max(first+int64(i)*length, s.started)
		to := min(first+int64(i+1)*length, now)
		l.parts[i] = max(float64(to-from)/1e9, float64(length)/2e9)
	}
	return l
}

// add counts a leaf, looked at from one of its faces.
func (r *sum) add(l *leaf, side int) {
	w := l.who
	f := &w.faces[side]
	if r.members == 0 {
		r.face, r.protocol, r.id = *f, w.protocol, l.id
	} else {
		for d := range f {
			if r.face[d] != f[d] {
				r.face[d] = none
			}
		}
		if r.protocol != w.protocol {
			r.protocol = event.Protocol_PROTOCOL_UNKNOWN
		}
		r.id = ""
	}
	r.members++
	flip := r.look.flip(w, side)
	if r.look.window >= rings {
		for i := range r.look.form.amounts {
			if flip[i] < len(l.total) {
				r.amounts[i] += float64(l.total[flip[i]])
			}
		}
	}
	if l.ring != nil && r.look.window < rings {
		var in [maxAmounts]float32
		l.ring.sum(r.look.window, r.look.now/partOf[r.look.window], &in)
		for i := range r.look.form.amounts {
			r.amounts[i] += float64(in[flip[i]])
		}
	}
	if l.gauge != nil {
		r.gauges = append(r.gauges, l.gauge)
	}
	if l.alive(r.look.now) {
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
		l.latencies.sum(r.look.window, r.look.now, r.latency)
	}
}

// addTrend adds how it went in the course of the window.
func (r *sum) addTrend(l *leaf, side int) {
	if l.ring == nil {
		return
	}
	flip := r.look.flip(l.who, side)
	window := min(r.look.window, rings-1)
	l.ring.each(window, r.look.now/partOf[window], func(place int, part []float32) {
		for _, i := range r.look.lines {
			r.trend[place] += float64(part[flip[i]])
		}
	})
}

// flip is where amounts stand as seen from a side of a leaf.
func (l *look) flip(w *who, side int) *[maxAmounts]int {
	if w.flipped != (side == 1) {
		return &l.form.flip
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
	if o.latency != nil {
		if r.latency == nil {
			r.latency = new(histogram)
		}
		for i := range r.latency {
			r.latency[i] += sign * o.latency[i]
		}
	}
}

// name is what the row is of.
func (r *sum) name() string {
	if r.label != "" {
		return r.label
	}
	if r.group.each {
		for _, d := range []dim{dimPod, dimNode} {
			if s := r.face[d].Value(); s != "" {
				return s
			}
		}
		return ""
	}
	last := r.group.dims[len(r.group.dims)-1]
	name := r.face[last].Value()
	if last == dimContainer {
		return r.face[dimPod].Value() + "/" + name
	}
	return name
}

func (r *sum) workload() string {
	if w := r.face[dimWorkload].Value(); !strings.HasPrefix(w, barePod) {
		return w
	}
	return ""
}

func (r *sum) windowMicros() uint64 { return uint64(r.look.covered * 1e6) }

func (r *sum) perSecond(amount int) float64 { return max(r.amounts[amount], 0) / r.look.covered }

// quantile is in units of so many ns; nil for none.
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

// whole rounds an amount.
func whole(f float64) uint64 { return uint64(max(f, 0) + 0.5) }

// fill makes the row's event, in one that may have been made before.
func (r *sum) fill(ev *event.Event) {
	ev.Time = uint64(r.look.now)
	ev.Namespace, ev.Pod = r.face[dimNamespace].Value(), r.face[dimPod].Value()
	ev.Container, ev.Node = r.face[dimContainer].Value(), r.face[dimNode].Value()
	r.look.form.fill(ev, r)
}

// row is the line for people.
func (r *sum) row() Row {
	ev := new(event.Event)
	r.fill(ev)
	row := Row{Key: Key{r.key}, Event: ev, Trend: make([]float64, slots)}
	for i := range row.Trend {
		row.Trend[i] = r.trend[i] / r.look.parts[i]
	}
	return row
}
