package filter

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// checker checks field names and enum values before CEL's own check, whose messages neither list the known names nor
// suggest one.
type checker struct {
	fields *fields
	expr   string
	info   *ast.SourceInfo
}

// check returns an error for the first unknown field or enum value in a.
func (f *fields) check(expr string, a *ast.AST) error {
	c := checker{fields: f, expr: expr, info: a.SourceInfo()}
	if err := c.checkExpr(a.Expr(), nil); err != nil {
		return err
	}
	return nil
}

// checkExpr checks e, in which the names in scope are variables of macros.
func (c *checker) checkExpr(e ast.Expr, scope []string) *Error {
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind:
		if path, root, ok := dotted(e); ok {
			return c.path(path, root, scope)
		}
		if e.Kind() == ast.SelectKind {
			return c.checkExpr(e.AsSelect().Operand(), scope)
		}
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() == operators.Equals || call.FunctionName() == operators.NotEquals {
			if err := c.words(call.Args()[0], call.Args()[1], scope); err != nil {
				return err
			}
			if err := c.words(call.Args()[1], call.Args()[0], scope); err != nil {
				return err
			}
		}
		if call.FunctionName() == operators.In && call.Args()[1].Kind() == ast.ListKind {
			for _, word := range call.Args()[1].AsList().Elements() {
				if err := c.words(call.Args()[0], word, scope); err != nil {
					return err
				}
			}
		}
		if call.FunctionName() == "matches" {
			if err := c.regex(call.Args()[len(call.Args())-1]); err != nil {
				return err
			}
		}
		if call.IsMemberFunction() && !c.isNamespace(call.Target(), scope) {
			if err := c.checkExpr(call.Target(), scope); err != nil {
				return err
			}
		}
		return c.all(call.Args(), scope)
	case ast.ListKind:
		return c.all(e.AsList().Elements(), scope)
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			if err := c.all([]ast.Expr{entry.AsMapEntry().Key(), entry.AsMapEntry().Value()}, scope); err != nil {
				return err
			}
		}
	case ast.ComprehensionKind:
		l := e.AsComprehension()
		if err := c.checkExpr(l.IterRange(), scope); err != nil {
			return err
		}
		inner := append(slices.Clip(scope), l.IterVar(), l.IterVar2(), l.AccuVar())
		return c.all([]ast.Expr{l.AccuInit(), l.LoopCondition(), l.LoopStep(), l.Result()}, inner)
	}
	return nil
}

func (c *checker) all(list []ast.Expr, scope []string) *Error {
	for _, e := range list {
		if err := c.checkExpr(e, scope); err != nil {
			return err
		}
	}
	return nil
}

// dotted returns the path of a chain of selections from an identifier, and the identifier.
func dotted(e ast.Expr) (path []string, root ast.Expr, ok bool) {
	for e.Kind() == ast.SelectKind {
		path = append(path, e.AsSelect().FieldName())
		e = e.AsSelect().Operand()
	}
	if e.Kind() != ast.IdentKind {
		return nil, nil, false
	}
	path = append(path, strings.TrimPrefix(e.AsIdent(), "."))
	slices.Reverse(path)
	return path, e, true
}

// isNamespace reports whether the target of a call is part of the function's name, as in ip.isCanonical(x), and not a
// value.
func (c *checker) isNamespace(target ast.Expr, scope []string) bool {
	return target.Kind() == ast.IdentKind && !slices.Contains(scope, target.AsIdent()) &&
		slices.Contains([]string{"ip", "math", "strings"}, target.AsIdent())
}

// path checks that a path names a field.
func (c *checker) path(path []string, root ast.Expr, scope []string) *Error {
	name := strings.Join(path, ".")
	switch {
	case slices.Contains(scope, path[0]) || isType(name):
		return nil
	case c.fields.find(path) != nil:
		return nil
	case len(path) == 1 && c.fields.objects[objectType(name)] != nil:
		return c.at(root, fmt.Sprintf("%s is an object, use one of its fields: %s", name,
			strings.Join(c.fields.of(name), ", ")))
	}
	return c.at(root, event.NewUnknownColumnError(name, c.fields.kinds...).Error())
}

// find returns the field at a path, nil if there is none.
func (f *fields) find(path []string) *field {
	switch len(path) {
	case 1:
		return f.top[path[0]]
	case 2:
		return f.objects[objectType(path[0])][path[1]]
	}
	return nil
}

// of lists the fields of an object in the order of the columns.
func (f *fields) of(object string) []string {
	var names []string
	for _, k := range f.kinds {
		for i := range k.Columns {
			c := &k.Columns[i]
			if c.Outputs&event.InJSON != 0 && strings.HasPrefix(c.Name, object+".") && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// words checks that a string literal compared with an enum field is one of its values.
func (c *checker) words(of, with ast.Expr, scope []string) *Error {
	path, _, ok := dotted(of)
	if !ok || with.Kind() != ast.LiteralKind || slices.Contains(scope, path[0]) {
		return nil
	}
	word, ok := with.AsLiteral().(types.String)
	f := c.fields.find(path)
	if !ok || f == nil || f.enum == nil || slices.Contains(f.enum, string(word)) {
		return nil
	}
	return c.at(with, fmt.Sprintf("%s is never %q, it is one of: %s", strings.Join(path, "."), string(word),
		strings.Join(f.enum, ", ")))
}

// regex checks that a literal pattern compiles.
func (c *checker) regex(e ast.Expr) *Error {
	if e.Kind() != ast.LiteralKind {
		return nil
	}
	if pattern, ok := e.AsLiteral().(types.String); ok {
		if _, err := syntax.Parse(string(pattern), syntax.Perl); err != nil {
			return c.at(e, err.Error())
		}
	}
	return nil
}

// isType reports whether the name is a type of CEL.
func isType(name string) bool {
	switch name {
	case "bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint",
		"google.protobuf.Timestamp",
		"google.protobuf.Duration", "net.IP", "net.CIDR":
		return true
	}
	return false
}

func (c *checker) at(e ast.Expr, message string) *Error {
	return newError(c.expr, c.info.GetStartLocation(e.ID()), message)
}
