// Package engine finds out what the time of an object went to, by a table of rules about signals. A signal is a number
// of a slot of time; a rule gives a share of the slot to a cause. What the object is, and what its signals and causes
// are, is the caller's: they number them from 0 on.
package engine

import (
	"cmp"
	"slices"
)

// Table is a table of rules in the order in which they take their shares of the time.
type Table[C ~int32, S ~int] struct {
	Rules []Rule[C, S]

	causes int
	parts  []S
	stages []stage[C, S]
}

// stage is the rules of one turn for one part. They share what earlier stages have left.
type stage[C ~int32, S ~int] struct {
	part  Part
	rules []*Rule[C, S]
	// taken is scratch space of Split.
	taken []float64
}

// NewTable returns a table of rules about a number of causes. parts are the signals that are the shares of the parts,
// the one of part 1 first.
func NewTable[C ~int32, S ~int](rules []Rule[C, S], causes int, parts ...S) *Table[C, S] {
	t := &Table[C, S]{Rules: rules, causes: causes, parts: parts}
	lastTurn := 0
	for i := range rules {
		lastTurn = max(lastTurn, rules[i].Turn)
	}
	for turn := 1; turn <= lastTurn; turn++ {
		for part := range parts {
			st := stage[C, S]{part: Part(part + 1)}
			for i := range rules {
				if r := &rules[i]; r.Part == st.part && r.Turn == turn {
					st.rules = append(st.rules, r)
				}
			}
			if len(st.rules) > 0 {
				st.taken = make([]float64, len(st.rules))
				t.stages = append(t.stages, st)
			}
		}
	}
	return t
}

// Split divides the time of a slot, whose signals are v, and adds the shares to those of the causes. Together it adds
// what the parts' signals come to. It is for one goroutine.
func (t *Table[C, S]) Split(v, shares []float64) {
	const minPart = 0.01 // a share of time; shares of less are not computed
	left := make([]float64, len(t.parts))
	for i, s := range t.parts {
		left[i] = v[s]
	}
	for i := range t.stages {
		st := &t.stages[i]
		part, sum := st.part-1, 0.0
		for j, r := range st.rules {
			share := r.Share(v)
			if r.OfAll {
				share = min(share/max(v[t.parts[part]], minPart), 1)
			}
			st.taken[j] = share
			sum += share
		}
		used := 0.0
		for j, r := range st.rules {
			taken := left[part] * st.taken[j] / max(sum, 1)
			shares[r.Cause] += taken
			used += taken
		}
		left[part] = max(left[part]-used, 0)
	}
}

// Rank lists the causes, the largest share first, and of equal ones that with the lower number.
func Rank[C ~int32](shares []float64) []C {
	order := make([]C, len(shares))
	for c := range order {
		order[c] = C(c)
	}
	slices.SortStableFunc(order, func(a, b C) int { return cmp.Compare(shares[b], shares[a]) })
	return order
}

// Apart is what would distinguish two causes; empty where the table has nothing.
func (t *Table[C, S]) Apart(a, b C) string {
	for _, pair := range [][2]C{{a, b}, {b, a}} {
		for i := range t.Rules {
			if r := &t.Rules[i]; r.Cause == pair[0] && r.Apart[pair[1]] != "" {
				return r.Apart[pair[1]]
			}
		}
	}
	return ""
}
