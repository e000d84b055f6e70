// Package filter compiles the user's --filter, a CEL expression over the fields of an event, by the same columns as the
// JSON output:
//
//	src.pod == "web" && bytesSent > 1000 && protocol == "tcp"
//
// A field that is not known for an event is null. null equals only null, so `dst.pod != "web"` holds for an end outside
// the cluster, and `dst.pod == null` or `!has(dst.pod)` finds it. Every other use of null (an order, a function, a sum)
// makes that part of the expression undecided: && and || go by their other side if that settles them, and an expression
// that stays undecided does not match. So an unknown is never less than, nor more than, anything, negated or not.
package filter

import "github.com/orb8-dev/kubectl-orb8/event"

// Filter is a compiled expression. It may be used by several goroutines.
type Filter struct {
	kinds []compiled
}

// Compile compiles expr for events of the given kinds. An empty expression matches everything. The error is an *Error
// that points at the place.
func Compile(expr string, kinds []*event.Kind) (*Filter, error) {
	return compile(expr, kinds)
}

// Match reports whether the expression is true for ev. Events of kinds it was not compiled for, as lost and nodeStatus
// usually are, always match. An error is one of evaluation (division by zero, an expression that costs too much), not of
// unknown fields, and then ev does not match.
func (f *Filter) Match(ev *event.Event) (bool, error) {
	return f.match(ev)
}

// Error says what is wrong with an expression and where.
type Error struct {
	// Expr is the whole expression.
	Expr string
	// Line and Column are where it is wrong, from 1; 0: the whole.
	Line, Column int
	// Message says what is wrong.
	Message string
}
