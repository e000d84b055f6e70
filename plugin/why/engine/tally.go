package engine

import "slices"

// Tally sums up slots of time: the shares of the causes, and what their confidence depends on.
type Tally[C ~int32, S ~int] struct {
	table *Table[C, S]
	// Slots is the number of slots, and Shares what the causes took of them: divide one by the other.
	Slots  int
	Shares []float64

	known   []int // slots in which each signal is known
	doubted []int // slots in which each cause is doubted
}

// NewTally returns an empty tally of slots with a number of signals.
func (t *Table[C, S]) NewTally(signals int) *Tally[C, S] {
	return &Tally[C, S]{table: t, Shares: make([]float64, t.causes), known: make([]int, signals),
		doubted: make([]int, t.causes)}
}

// Add divides a slot with the signals v among the causes.
func (t *Tally[C, S]) Add(v []float64) {
	t.observe(v)
	t.table.Split(v, t.Shares)
}

// AddWhole gives a slot with the signals v to one cause, by a rule of the window.
func (t *Tally[C, S]) AddWhole(cause C, v []float64) {
	t.observe(v)
	t.Shares[cause]++
}

// AddSlots gives slots without signals to one cause.
func (t *Tally[C, S]) AddSlots(cause C, slots int) {
	t.Shares[cause] += float64(slots)
	t.Slots += slots
}

func (t *Tally[C, S]) observe(v []float64) {
	t.Slots++
	for i, x := range v {
		if Known(x) {
			t.known[i]++
		}
	}
	for i := range t.table.Rules {
		if r := &t.table.Rules[i]; r.Doubted(v) {
			t.doubted[r.Cause]++
		}
	}
}

// coverage is the part of the slots in which a signal has to be known.
const coverage = 0.7

// Missing are the signals that the rules of causes need and that are known in too few of the slots.
func (t *Tally[C, S]) Missing(causes ...C) (list []S) {
	for i := range t.table.Rules {
		r := &t.table.Rules[i]
		if !slices.Contains(causes, r.Cause) {
			continue
		}
		for _, need := range r.Needs {
			if float64(t.known[need]) < coverage*float64(t.Slots) && !slices.Contains(list, need) {
				list = append(list, need)
			}
		}
	}
	return list
}

// Doubted reports whether the cause is doubted in most slots.
func (t *Tally[C, S]) Doubted(cause C) bool { return 2*t.doubted[cause] > t.Slots }
