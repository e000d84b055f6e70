package model

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// found is a row that matches, with what it is sorted by: its sum, or the series that is summed again when the row is
// shown.
type found struct {
	sum    *sum
	series *series
	side   int

	name, tie string // of equal ones
	null      bool
	number    float64
	text      string
}

// rank takes the value of a column that the row is sorted by.
func (f *found) rank(by *event.Column, ev *event.Event) {
	switch v := by.Get(ev); v.Kind() {
	case event.Null:
		f.null = true
	case event.StringValue:
		if f.text = v.Str(); by.Type == event.Enum {
			f.text, f.number = "", float64(slices.Index(by.Enum, v.Str()))
		}
	case event.FloatValue:
		f.number = v.Float()
	case event.IntValue:
		f.number = float64(v.Int())
	default:
		f.number = float64(v.Uint())
	}
}

// best keeps the first of many rows.
type best struct {
	descending bool
	most       int // 0: all
	rows       []found
	// last is the last of the first ones, once there are so many.
	last    found
	limited bool
}

func (b *best) compare(x, y *found) int {
	switch {
	case x.null != y.null:
		if x.null {
			return 1
		}
		return -1
	case x.null:
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.tie, y.tie))
	}
	c := cmp.Or(cmp.Compare(x.number, y.number), cmp.Compare(x.text, y.text))
	if b.descending {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(x.name, y.name), cmp.Compare(x.tie, y.tie))
}

func (b *best) add(f found) {
	if b.limited && b.compare(&f, &b.last) >= 0 {
		return
	}
	b.rows = append(b.rows, f)
	if b.most > 0 && len(b.rows) >= 2*b.most+64 {
		b.sort()
		b.last, b.limited = b.rows[len(b.rows)-1], true
	}
}

func (b *best) sort() {
	slices.SortStableFunc(b.rows, func(x, y found) int { return b.compare(&x, &y) })
	if b.most > 0 && len(b.rows) > b.most {
		clear(b.rows[b.most:])
		b.rows = b.rows[:b.most]
	}
}

func (b *best) sorted() []found {
	b.sort()
	return b.rows
}
