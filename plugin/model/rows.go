package model

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Rows answers a query as of a time.
func (m *Model) Rows(q Query, now time.Time) Table {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.answer(q, now)
	a.collect()
	return a.table()
}

// answer is a query on its way.
type answer struct {
	m        *Model
	q        Query
	window   *queryWindow
	best     best
	matching int
	sums     map[rowKey]*sum
	matched  sum
	total    sum
	all      int
	err      error
	ev       event.Event // scratch
}

func (m *Model) answer(q Query, now time.Time) *answer {
	if q.Group == nil {
		q.Group = m.topic.Groups[0]
	}
	a := &answer{
		m: m, q: q, window: newQueryWindow(m.store, m.topic.LinesOf(q.Group), windowIndex(q.Window), now.UnixNano()),
	}
	a.matched = sum{group: q.Group, label: event.Others, window: a.window, dimensions: noDimensions()}
	a.total = sum{group: q.Group, label: "total", window: a.window, dimensions: noDimensions()}
	a.best.descending = q.Descending
	if q.Limit > 0 {
		a.best.most = max(q.Offset, 0) + q.Limit
	}
	return a
}

// collect finds the rows.
func (a *answer) collect() {
	if !a.q.Group.each {
		a.sums = map[rowKey]*sum{}
	}
	var one sum
	var parts []*series // of what is counted
	a.m.each(func(l *series) {
		if l.pair.class != a.q.Group.class {
			if l.pair.class == classProcess {
				parts = append(parts, l)
			}
			return
		}
		counted := false
		for side := range int(l.pair.sides) {
			f := &l.pair.dims[side]
			if !a.within(l, f) {
				continue
			}
			if !counted {
				counted = true
				one = sum{group: a.q.Group, key: seriesKey(l), window: a.window, whole: true}
				one.add(l, side)
				if a.q.Group.each { // a flow is one row, from the end that opened it
					a.judge(&one, found{series: l, side: side, tie: l.id})
				}
				a.count(&one, l)
			}
			if a.q.Group.each {
				break
			}
			key := a.key(f)
			s := a.sums[key]
			if s == nil {
				s = &sum{group: a.q.Group, key: key, window: a.window}
				a.sums[key] = s
			}
			s.add(l, side)
		}
	})
	for _, l := range parts {
		a.addPart(l)
	}
	for _, s := range a.sums {
		a.judge(s, found{sum: s, tie: s.key.dims[0].Value()})
	}
}

// addPart counts what a process did in the row of the GPUs that it is on, if there is one.
func (a *answer) addPart(l *series) {
	f := &l.pair.dims[0]
	if !a.within(l, f) {
		return
	}
	if s := a.sums[a.key(f)]; s != nil {
		s.addPart(l)
		a.total.addPart(l)
	}
}

func (a *answer) key(f *dimensions) (key rowKey) {
	for i := range key.dims {
		key.dims[i] = none
	}
	for i, d := range a.q.Group.dims {
		key.dims[i] = f[d]
	}
	return key
}

// count adds a series' sum to that of all.
func (a *answer) count(one *sum, l *series) {
	if d := a.window.spec.doubled; d >= 0 && l.pair.echo {
		one.amounts[d] = 0
	}
	a.total.plus(one, 1)
}

func seriesKey(l *series) (key rowKey) {
	for i := range key.dims {
		key.dims[i] = none
	}
	if key.id = l.id; l.id == "" {
		key.pair = l.pair
	}
	return key
}

// idle reports that the sum has no amounts in the window.
func (r *sum) idle() bool {
	for _, n := range r.amounts {
		if n != 0 {
			return false
		}
	}
	return true
}

// judge keeps a row that matches, if one of its series is live or has amounts in the window.
func (a *answer) judge(s *sum, f found) {
	if s.live == 0 && s.idle() {
		return
	}
	a.all++
	s.fill(&a.ev)
	if a.q.Match != nil {
		match, err := a.q.Match(&a.ev)
		if err != nil && a.err == nil {
			a.err = err
		}
		if !match {
			return
		}
	}
	a.matching++
	a.matched.plus(s, 1)
	f.name = s.name()
	if a.q.Sort != nil {
		f.rank(a.q.Sort, &a.ev)
	}
	a.best.add(f)
}

// within reports whether one end of a series is part of what was gone into.
func (a *answer) within(l *series, f *dimensions) bool {
	for i := range a.q.Within {
		w := &a.q.Within[i]
		if w.Group.each {
			if seriesKey(l) != w.Key.key {
				return false
			}
			continue
		}
		for j, d := range w.Group.dims {
			if f[d] != w.Key.key.dims[j] {
				return false
			}
		}
	}
	return true
}

// table makes the rows from Offset on, up to Limit.
func (a *answer) table() Table {
	rows := a.best.sorted()
	t := Table{
		At: time.Unix(0, a.window.now), Covered: time.Duration(a.window.covered * float64(time.Second)),
		Matching: a.matching, All: a.all, Err: a.err,
		Total: a.total.row(),
	}
	rows = rows[min(max(a.q.Offset, 0), len(rows)):]
	shown := make([]*sum, len(rows))
	for i, f := range rows {
		if shown[i] = f.sum; f.sum == nil {
			shown[i] = &sum{group: a.q.Group, key: seriesKey(f.series), window: a.window, whole: true}
			shown[i].add(f.series, f.side)
			shown[i].addTrend(f.series, f.side)
		}
	}
	if !a.q.Group.each {
		a.trends(shown)
	}
	for _, s := range shown {
		t.Rows = append(t.Rows, s.row())
		a.matched.plus(s, -1)
	}
	if len(rows) < a.matching {
		t.Others = a.matched.row()
	}
	return t
}

// trends reads the series of the rows that are shown once more.
func (a *answer) trends(rows []*sum) {
	shown := make(map[rowKey]*sum, len(rows))
	for _, s := range rows {
		shown[s.key] = s
	}
	a.m.each(func(l *series) {
		for side := range int(l.pair.sides) {
			f := &l.pair.dims[side]
			if l.ring == nil || l.pair.class != a.q.Group.class || !a.within(l, f) {
				continue
			}
			if s := shown[a.key(f)]; s != nil {
				s.addTrend(l, side)
			}
		}
	})
}
