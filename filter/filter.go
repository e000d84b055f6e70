// Package filter compiles the user's --filter, a CEL expression over the fields of an event, by the same columns as the
// JSON output:
//
//	src.pod == "web" && bytesSent > 1000 && protocol == "tcp"
//
// Text, enums and addresses are strings, amounts and numbers are int, times are timestamp. The functions are those of
// CEL and of its network and strings extensions: cidr("10.0.0.0/8").containsIP(dst.address).
//
// # Unknown fields
//
// A field that is unknown for an event is null. null equals only null, so `dst.pod != "web"` holds for an end outside
// the cluster, and `dst.pod == null` or `!has(dst.pod)` finds it. Every other use of null (an order, a function, a sum)
// makes that part of the expression undecided: && and || use their other side if it decides the result, and an
// expression that stays undecided does not match. So an unknown is never less than, nor more than, anything, negated or
// not.
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// maxLength (bytes) and maxDepth limit an expression. Without loops they also limit the cost of one evaluation.
	maxLength = 4096
	maxDepth  = 64
	// maxCost limits one evaluation of an expression with loops, in CEL's cost units: about one per operator.
	maxCost = 100_000
	// maxRegex is the size of a regular expression's program.
	maxRegex = 1000
)

// Filter is a compiled expression. It is safe for concurrent use.
type Filter struct {
	program cel.Program
	fields  *fields
}

// Compile compiles expr for events of the given kinds; it may use the fields of all of them, and those that an event's
// own kind lacks are null. An empty expression matches everything. The error is an *Error that points at the place.
func Compile(expr string, kinds []*event.Kind) (*Filter, error) {
	if strings.TrimSpace(expr) == "" {
		return &Filter{}, nil
	}
	f := newFields(kinds)
	env, err := cel.NewCustomEnv(append(f.options(),
		cel.StdLib(), cel.CrossTypeNumericComparisons(true), ext.Network(), ext.Strings(),
		cel.CustomTypeProvider(f), cel.CustomTypeAdapter(f),
		cel.ParserExpressionSizeLimit(maxLength), cel.ParserRecursionLimit(maxDepth),
		cel.RegexProgramSizeLimit(maxRegex),
	)...)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	parsed, issues := env.Parse(expr)
	if issues.Err() != nil {
		return nil, first(expr, issues)
	}
	if err := f.check(expr, parsed.NativeRep()); err != nil {
		return nil, err
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, first(expr, issues)
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.NullableType(cel.BoolType)) {
		return nil, &Error{
			Expr: expr, Line: 1, Column: 1, Message: fmt.Sprintf("this gives a value of type %s, want true or false",
				typeName(out)),
		}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if loops(checked.NativeRep()) {
		// Counting makes an evaluation four times as expensive. An expression without loops is limited by its length.
		options = append(options, cel.CostLimit(maxCost))
	}
	program, err := env.Program(checked, options...)
	if err != nil {
		return nil, &Error{Expr: expr, Message: err.Error()}
	}
	return &Filter{program: program, fields: f}, nil
}

// loops reports whether a has a macro that runs over a list.
func loops(a *ast.AST) bool {
	return len(ast.MatchDescendants(ast.NavigateAST(a), ast.KindMatcher(ast.ComprehensionKind))) > 0
}

// Match reports whether the expression is true for ev. Events of kinds it was not compiled for, usually lost and
// nodeStatus, always match. An error is an evaluation error (division by zero, cost limit), never an unknown field, and
// ev does not match.
func (f *Filter) Match(ev *event.Event) (bool, error) {
	if f.program == nil {
		return true, nil
	}
	kind := slices.Index(f.fields.kinds, event.KindOf(ev))
	if kind < 0 {
		return true, nil
	}
	out, _, err := f.program.Eval(&subject{ev: ev, kind: kind, fields: f.fields})
	if err != nil {
		if undecided(err) {
			return false, nil
		}
		return false, fmt.Errorf("filter: %w", err)
	}
	return out == types.True, nil
}

// undecided reports whether evaluation failed at a null: types were checked, so nothing else has no overload.
func undecided(err error) bool {
	var e *types.Err
	return errors.As(err, &e) && strings.Contains(e.Error(), "no such overload")
}

// Error is an error in an expression, with its place.
type Error struct {
	// Expr is the whole expression.
	Expr string
	// Line and Column are the place, from 1, Column in characters. Line is 0 where the place is unknown.
	Line, Column int
	// Message describes the error.
	Message string
}

// Error returns the place and the message, and below them the line with a caret under the place.
func (e *Error) Error() string {
	if e.Line == 0 {
		return "filter: " + e.Message
	}
	text := fmt.Sprintf("filter at %d:%d: %s", e.Line, e.Column, e.Message)
	lines := strings.Split(e.Expr, "\n")
	if e.Line > len(lines) {
		return text
	}
	line := strings.ReplaceAll(lines[e.Line-1], "\t", " ")
	return fmt.Sprintf("%s\n  %s\n  %s^", text, line, strings.Repeat(" ", e.Column-1))
}

// first returns the first of CEL's errors. The later ones are often consequences of it.
func first(expr string, issues *cel.Issues) *Error {
	all := issues.Errors()
	if len(all) == 0 {
		return &Error{Expr: expr, Message: issues.Err().Error()}
	}
	return newError(expr, all[0].Location, rewriteMessage(all[0].Message))
}

// newError returns an Error at a place, or without one where the place is unknown.
func newError(expr string, at common.Location, message string) *Error {
	if at.Line() < 1 || at.Column() < 0 {
		return &Error{Expr: expr, Message: message}
	}
	return &Error{Expr: expr, Line: at.Line(), Column: at.Column() + 1, Message: message}
}

// rewriteMessage replaces CEL's internal names in a message by the syntax that users write.
func rewriteMessage(message string) string {
	message = strings.TrimPrefix(message, "Syntax error: ")
	message = strings.TrimSuffix(message, " (in container '')")
	return wrappers.Replace(message)
}

var wrappers = strings.NewReplacer(
	"wrapper(string)", "string", "wrapper(int)", "int", "wrapper(bool)", "bool", "google.protobuf.Timestamp",
	"timestamp", "_==_", "==", "_!=_", "!=",
	"_<_", "<", "_<=_", "<=", "_>_", ">", "_>=_", ">=", "_&&_", "&&", "_||_", "||", "_+_", "+", "_-_", "-", "_*_", "*",
	"_/_", "/", "_%_", "%", "!_", "!", "@in", "in",
)

func typeName(t *cel.Type) string { return wrappers.Replace(t.String()) }
