package engine

import "slices"

// Part is the part of the window's time that a rule divides, from 1 on, by the caller's numbers.
type Part int

// OfWindow is the part of rules that judge the window as a whole, before all others. The caller applies them: Split
// skips them.
const OfWindow Part = 0

// Condition is a signal with its thresholds: 0 at From, 1 at To, in proportion between them.
type Condition[S ~int] struct {
	Signal   S
	From, To float64
	// Unknown is the result where the signal is not known.
	Unknown float64
	// Any: of the rule's conditions so marked, the strongest counts.
	Any bool
}

func (c *Condition[S]) strength(v []float64) float64 {
	if x := v[c.Signal]; Known(x) {
		return Ramp(x, c.From, c.To)
	}
	return c.Unknown
}

// Rule attributes a share of a part's time to a cause.
type Rule[C ~int32, S ~int] struct {
	Cause C
	Part  Part
	// Turn: rules of an earlier turn take their share first. Rules of one turn divide what is left.
	Turn int
	// Conditions multiply to the share of the part that the rule takes.
	Conditions []Condition[S]
	// OfAll: the conditions multiply to a share of all the time, not of the part.
	OfAll bool
	// When describes the conditions of rules of the window.
	When string
	// Needs are the signals without which a verdict for this cause is never of high confidence.
	Needs []S
	// Doubts: where one of them holds by half or more, a verdict for this cause is of medium confidence at most.
	Doubts []Condition[S]
	// Apart is what would distinguish the cause from others.
	Apart map[C]string
}

// Share is the part of its time that a rule's conditions give to it.
func (r *Rule[C, S]) Share(v []float64) float64 {
	share, strongest, anyOf := 1.0, 0.0, false
	for i := range r.Conditions {
		c := &r.Conditions[i]
		if x := c.strength(v); c.Any {
			anyOf, strongest = true, max(strongest, x)
		} else {
			share *= x
		}
	}
	if anyOf {
		share *= strongest
	}
	return share
}

// Doubted reports whether one of the doubts about the rule's cause holds.
func (r *Rule[C, S]) Doubted(v []float64) bool {
	return slices.ContainsFunc(r.Doubts, func(c Condition[S]) bool {
		return Known(v[c.Signal]) && Ramp(v[c.Signal], c.From, c.To) >= 0.5
	})
}
