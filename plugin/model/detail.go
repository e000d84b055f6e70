package model

import (
	"math"
	"time"
)

// Detail tells all of what a query is within.
func (m *Model) Detail(q Query, now time.Time) Detail {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(q.Within); n > 0 {
		q.Group = q.Within[n-1].Group
	}
	a := m.answer(q, now)
	of := sum{group: a.q.Group, look: a.look, face: blank()}
	lines := m.topic.LinesOf(a.q.Group)
	series := newSeries(a.look, lines, m.started)
	var rtt histogram
	m.each(func(l *leaf) {
		if l.who.class != a.q.Group.class {
			if f := &l.who.faces[0]; l.who.class == classProcess && a.within(l, f) {
				of.addPart(l)
			}
			return
		}
		sides := int(l.who.sides)
		if len(q.Within) == 0 {
			sides = 1 // all of it, once
		}
		for side := range sides {
			if !a.within(l, &l.who.faces[side]) {
				continue
			}
			if of.members == 0 {
				of.key = leafKey(l)
				if !a.q.Group.each {
					of.key = a.key(&l.who.faces[side])
				}
			}
			of.add(l, side)
			of.addTrend(l, side)
			series.add(m.topic.form.flip, l, l.who.flipped != (side == 1))
			if l.live && l.srttMicros != 0 {
				rtt[bucketOf(uint64(l.srttMicros)*1000)]++
			}
		}
	})
	d := Detail{Row: of.row(), Series: series.points()}
	if of.latency != nil {
		rtt = *of.latency
	}
	d.Histogram = rtt.list()
	return d
}

// series is what each line of a topic came to in each second.
type series struct {
	look    *look
	lines   []Line
	started int64
	cells   [][rings][slots]float64
	// known says for lines that may be unknown in which parts they were not.
	known [][rings][slots]bool
}

func newSeries(l *look, lines []Line, started int64) *series {
	return &series{
		look: l, lines: lines, started: started, cells: make([][rings][slots]float64, len(lines)),
		known: make([][rings][slots]bool, len(lines)),
	}
}

func (s *series) add(flip [maxAmounts]int, l *leaf, answered bool) {
	if l.ring == nil {
		return
	}
	for w, length := range partOf {
		l.ring.each(w, s.look.now/length, func(place int, part []float32) {
			for i := range s.lines {
				if s.lines[i].known > 0 {
					continue
				}
				at := s.lines[i].measure
				if answered {
					at = flip[at]
				}
				if at < len(part) { // a flow has no more amounts
					s.cells[i][w][place] += float64(part[at])
				}
			}
		})
		for i, line := range s.lines {
			if line.known > 0 {
				s.addShares(i, w, l.ring, line)
			}
		}
	}
}

// addShares adds for how much of the time that is known a leaf worked: at most 1, however many of its looks fall into
// one part. Of a line with a scale it is what the leaf did in that time, by it.
func (s *series) addShares(i, w int, r *ring, line Line) {
	var share [slots]float64
	var covers [slots]int // so many parts, up to this one
	length := partOf[w]
	r.each(w, s.look.now/length, func(place int, part []float32) {
		if known := float64(part[line.known]); known > 0 {
			share[place] = float64(part[line.measure]) / known
			if line.scale == 0 {
				share[place] = min(share[place], 1)
			} else {
				share[place] *= line.scale
			}
			covers[place] = int(math.Ceil(known / float64(length)))
		}
	})
	for place := range slots {
		from := place
		// A look tells of the time since the one before it, and nothing yet of what has come since it.
		for later := place; later < slots && covers[place] == 0; later++ {
			if covers[later] > later-place {
				from = later
				break
			}
		}
		if covers[from] == 0 && place > 0 {
			from = place - 1
		}
		if covers[from] > 0 {
			s.cells[i][w][place] += share[from]
			s.known[i][w][place] = true
		}
	}
}

// points are a second apiece up to the last whole one, each from the shortest window that reaches back to it.
func (s *series) points() [][]float64 {
	const second = int64(time.Second)
	last := s.look.now / second // is not over yet
	first := max(s.started/second, last-int64(Windows[rings-1]/time.Second)+1)
	all := make([][]float64, len(s.cells))
	for i := range all {
		for at := first; at < last; at++ {
			for w, length := range partOf {
				newest := s.look.now / length
				place := at*second/length - newest + slots - 1
				if place < 0 {
					continue
				}
				if s.lines[i].known > 0 {
					p := math.NaN()
					if s.known[i][w][place] {
						p = s.cells[i][w][place]
					}
					all[i] = append(all[i], p)
					break
				}
				// The newest part is not over, and the first may have begun before the stream did.
				begin := max((newest-slots+1+place)*length, s.started)
				end := min((newest-slots+2+place)*length, s.look.now)
				all[i] = append(all[i], s.cells[i][w][place]*float64(second)/float64(max(end-begin, second)))
				break
			}
		}
	}
	return all
}
