package model

import (
	"cmp"
	"slices"
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
	m       *Model
	q       Query
	look    *look
	rows    []found
	sums    map[rowKey]*sum
	matched sum
	total   sum
	all     int
	err     error
	ev      event.Event // scratch
}

// found is a row that matches: its sum, or the leaf that is summed again when the row is shown.
type found struct {
	leaf *leaf
	side int
	sum  *sum
	name string
	by   event.Value
}

func (m *Model) answer(q Query, now time.Time) *answer {
	if q.Group == nil {
		q.Group = m.topic.Groups[0]
	}
	a := &answer{m: m, q: q, look: newLook(m.store, m.topic, windowIndex(q.Window), now.UnixNano())}
	a.matched = sum{group: q.Group, label: event.Others, look: a.look, face: blank()}
	a.total = sum{group: q.Group, label: "total", look: a.look, face: blank()}
	return a
}

// collect finds the rows.
func (a *answer) collect() {
	if !a.q.Group.each {
		a.sums = map[rowKey]*sum{}
	}
	a.m.each(func(l *leaf) {
		counted := false
		for side := range int(l.who.sides) {
			f := &l.who.faces[side]
			if !a.within(l, f) {
				continue
			}
			if !counted {
				counted = true
				a.count(l, side)
			}
			if a.q.Group.each {
				a.single(l, side)
				break // a flow is one row, from the end that opened it
			}
			key := a.key(f)
			s := a.sums[key]
			if s == nil {
				s = &sum{group: a.q.Group, key: key, look: a.look}
				a.sums[key] = s
			}
			s.add(l, side)
		}
	})
	for _, s := range a.sums {
		a.judge(s, found{sum: s})
	}
}

func (a *answer) key(f *face) (key rowKey) {
	for i := range key.dims {
		key.dims[i] = none
	}
	for i, d := range a.q.Group.dims {
		key.dims[i] = f[d]
	}
	return key
}

// count adds a leaf to the sum of all.
func (a *answer) count(l *leaf, side int) {
	var one sum
	one.look = a.look
	one.add(l, side)
	if d := a.look.form.doubled; d >= 0 && l.who.echo {
		one.amounts[d] = 0
	}
	a.total.plus(&one, 1)
}

// single is a row of one leaf.
func (a *answer) single(l *leaf, side int) {
	s := a.leafSum(l, side)
	a.judge(&s, found{leaf: l, side: side})
}

func (a *answer) leafSum(l *leaf, side int) sum {
	s := sum{group: a.q.Group, key: leafKey(l), look: a.look}
	s.add(l, side)
	return s
}

func leafKey(l *leaf) (key rowKey) {
	for i := range key.dims {
		key.dims[i] = none
	}
	if key.id = l.id; l.id == "" {
		key.who = l.who
	}
	return key
}

// idle says that nothing happened in the window.
func (r *sum) idle() bool {
	for _, n := range r.amounts {
		if n != 0 {
			return false
		}
	}
	return true
}

// judge keeps a row of which something lives, or did something in the window, if it matches.
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
	f.name = s.name()
	if a.q.Sort != nil {
		f.by = a.q.Sort.Get(&a.ev)
	}
	a.rows = append(a.rows, f)
	a.matched.plus(s, 1)
}

// within tells whether a face of a leaf is part of what was gone into.
func (a *answer) within(l *leaf, f *face) bool {
	for i := range a.q.Within {
		w := &a.q.Within[i]
		if w.Group.each {
			if leafKey(l) != w.Key.key {
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

// table sorts the rows and makes those that are asked for.
func (a *answer) table() Table {
	enum := a.q.Sort != nil && a.q.Sort.Type == event.Enum
	slices.SortFunc(a.rows, func(x, y found) int {
		c := 0
		switch {
		case x.by.IsNull() != y.by.IsNull():
			c = x.by.Compare(y.by)
		case enum:
			c = cmp.Compare(slices.Index(a.q.Sort.Enum, x.by.Str()), slices.Index(a.q.Sort.Enum, y.by.Str()))
		default:
			c = x.by.Compare(y.by)
		}
		if a.q.Descending && !x.by.IsNull() && !y.by.IsNull() {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(x.name, y.name))
	})
	t := Table{
		At: time.Unix(0, a.look.now), Covered: time.Duration(a.look.covered * float64(time.Second)), Matching: len(a.rows), All: a.all, Err: a.err,
		Total: a.total.row(),
	}
	from := min(max(a.q.Offset, 0), len(a.rows))
	to := len(a.rows)
	if a.q.Limit > 0 {
		to = min(from+a.q.Limit, to)
	}
	t.Rows = make([]Row, 0, to-from)
	for _, f := range a.rows[from:to] {
		s := f.sum
		if s == nil {
			one := a.leafSum(f.leaf, f.side)
			s = &one
		}
		t.Rows = append(t.Rows, s.row())
		a.matched.plus(s, -1)
	}
	if to-from < len(a.rows) {
		t.Rest = a.matched.row()
	}
	return t
}
