package model

import (
	"math"
	"time"
)

// Detail returns the row of a query's Within with its time series and latencies.
func (m *Model) Detail(q Query, now time.Time) Detail {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(q.Within); n > 0 {
		q.Group = q.Within[n-1].Group
	}
	a := m.answer(q, now)
	of := sum{group: a.q.Group, window: a.window, dimensions: noDimensions()}
	of.whole = len(q.Within) == 0 || a.q.Group.each
	lines := m.topic.LinesOf(a.q.Group)
	history := newTimeSeries(a.window, lines, m.started)
	var rtt histogram
	m.each(func(l *series) {
		if l.pair.class != a.q.Group.class {
			if f := &l.pair.dims[0]; l.pair.class == classProcess && a.within(l, f) {
				of.addPart(l)
			}
			return
		}
		sides := int(l.pair.sides)
		if len(q.Within) == 0 {
			sides = 1 // all of it, once
		}
		for side := range sides {
			if !a.within(l, &l.pair.dims[side]) {
				continue
			}
			if of.members == 0 {
				of.key = seriesKey(l)
				if !a.q.Group.each {
					of.key = a.key(&l.pair.dims[side])
				}
			}
			of.add(l, side)
			of.addTrend(l, side)
			history.add(m.topic.spec.flip, l, l.pair.flipped != (side == 1))
			if l.live && l.srttMicros != 0 {
				rtt[bucketOf(uint64(l.srttMicros)*1000)]++
			}
		}
	})
	d := Detail{Row: of.row(), Series: history.points()}
	if of.latency != nil {
		rtt = *of.latency
	}
	d.Histogram = rtt.list()
	return d
}

// series sums up each line of a topic for each second.
type timeSeries struct {
	window  *queryWindow
	lines   []Line
	started int64
	cells   [][rings][slots]float64
	// known marks the slots in which a line that may be unknown was known.
	known [][rings][slots]bool
}

func newTimeSeries(l *queryWindow, lines []Line, started int64) *timeSeries {
	return &timeSeries{
		window: l, lines: lines, started: started, cells: make([][rings][slots]float64, len(lines)),
		known: make([][rings][slots]bool, len(lines)),
	}
}

func (s *timeSeries) add(flip [maxAmounts]int, l *series, answered bool) {
	if l.ring == nil {
		return
	}
	for w, length := range partOf {
		l.ring.each(w, s.window.now/length, func(place int, part []float32) {
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

// addShares adds the share of the known time in which a series was busy: at most 1, however many samples fall into one
// slot. For a line with a scale it adds measure ÷ known, times the scale.
func (s *timeSeries) addShares(i, w int, r *ring, line Line) {
	var share [slots]float64
	var covers [slots]int // so many parts, up to this one
	length := partOf[w]
	r.each(w, s.window.now/length, func(place int, part []float32) {
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
		// A sample covers the time since the one before it, and nothing yet of what has come since.
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
func (s *timeSeries) points() [][]float64 {
	const second = int64(time.Second)
	last := s.window.now / second // is not over yet
	first := max(s.started/second, last-int64(windows[rings-1]/time.Second)+1)
	all := make([][]float64, len(s.cells))
	for i := range all {
		for at := first; at < last; at++ {
			for w, length := range partOf {
				newest := s.window.now / length
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
				end := min((newest-slots+2+place)*length, s.window.now)
				all[i] = append(all[i], s.cells[i][w][place]*float64(second)/float64(max(end-begin, second)))
				break
			}
		}
	}
	return all
}
