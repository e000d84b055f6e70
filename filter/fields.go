package filter

import (
	"math"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// fields are the columns of some kinds of event as CEL sees them: variables, and objects with typed fields, so that an
// unknown field is an error when the expression is compiled. It is CEL's type provider and adapter.
type fields struct {
	types.Provider
	types.Adapter
	kinds   []*event.Kind
	top     map[string]*field            // variables
	objects map[string]map[string]*field // by type name, fields by name
}

// field is one column in each of the kinds; nil where a kind lacks it.
type field struct {
	typ *cel.Type
	// enum are all values of the field; nil where it is free text.
	enum    []string
	columns []*event.Column
}

// objectType is the type name of the object called name in the JSON.
func objectType(name string) string { return "orb8." + name }

func newFields(kinds []*event.Kind) *fields {
	r := types.NewEmptyRegistry()
	f := &fields{Provider: r, Adapter: r, kinds: kinds, top: map[string]*field{},
		objects: map[string]map[string]*field{}}
	for i, k := range kinds {
		for j := range k.Columns {
			c := &k.Columns[j]
			if c.Outputs&event.InJSON == 0 {
				continue
			}
			in, name := f.top, c.Name
			if object, key, nested := strings.Cut(c.Name, "."); nested {
				if in = f.objects[objectType(object)]; in == nil {
					in = map[string]*field{}
					f.objects[objectType(object)] = in
				}
				name = key
			}
			if in[name] == nil {
				in[name] = &field{typ: typeOf(c), enum: c.Enum, columns: make([]*event.Column, len(kinds))}
			} else if c.Type == event.Enum && in[name].enum != nil {
				in[name].enum = append(in[name].enum[:len(in[name].enum):len(in[name].enum)], c.Enum...)
			} else {
				in[name].enum = nil // in another kind the field is free text
			}
			in[name].columns[i] = c
		}
	}
	return f
}

// typeOf returns the CEL type of a column. All are nullable, because a field may be unknown.
func typeOf(c *event.Column) *cel.Type {
	switch c.Type {
	case event.Number, event.Count, event.Bytes, event.Micros, event.Nanos, event.Signed:
		return cel.NullableType(cel.IntType)
	case event.Rate:
		return cel.NullableType(cel.DoubleType)
	case event.Bool:
		return cel.NullableType(cel.BoolType)
	case event.Timestamp:
		return cel.TimestampType // already nullable
	}
	return cel.NullableType(cel.StringType)
}

// options returns the declarations of the variables.
func (f *fields) options() []cel.EnvOption {
	var o []cel.EnvOption
	for name, v := range f.top {
		o = append(o, cel.Variable(name, v.typ))
	}
	for name := range f.objects {
		o = append(o, cel.Variable(strings.TrimPrefix(name, "orb8."), cel.ObjectType(name)))
	}
	return o
}

// FindStructType implements types.Provider.
func (f *fields) FindStructType(name string) (*types.Type, bool) {
	if _, ok := f.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return f.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (f *fields) FindStructFieldNames(name string) ([]string, bool) {
	object, ok := f.objects[name]
	if !ok {
		return f.Provider.FindStructFieldNames(name)
	}
	var names []string
	for n := range object {
		names = append(names, n)
	}
	return names, true
}

// FindStructFieldType implements types.Provider. The getters read a column of the subject that CEL passes.
func (f *fields) FindStructFieldType(object, name string) (*types.FieldType, bool) {
	v, ok := f.objects[object][name]
	if !ok {
		return f.Provider.FindStructFieldType(object, name)
	}
	return &types.FieldType{
		Type:    v.typ,
		IsSet:   func(target any) bool { return !v.get(target.(*subject)).IsNull() },
		GetFrom: func(target any) (any, error) { return toCEL(v.get(target.(*subject))), nil },
	}, true
}

// NewValue implements types.Provider. It returns an error, because expressions cannot construct objects.
func (f *fields) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("%s cannot be made", name)
}

// NativeToValue implements types.Adapter.
func (f *fields) NativeToValue(v any) ref.Val {
	if _, ok := v.(*subject); ok {
		return types.NewErr("an end is no value; use one of its fields")
	}
	return f.Adapter.NativeToValue(v)
}

// subject is the event under evaluation: CEL's activation, and the value of every object in it.
type subject struct {
	ev     *event.Event
	kind   int
	fields *fields
}

// ResolveName implements cel.Activation.
func (s *subject) ResolveName(name string) (any, bool) {
	if v, ok := s.fields.top[name]; ok {
		return toCEL(v.get(s)), true
	}
	if _, ok := s.fields.objects[objectType(name)]; ok {
		return s, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (s *subject) Parent() cel.Activation { return nil }

func (v *field) get(s *subject) event.Value {
	if c := v.columns[s.kind]; c != nil {
		return c.Get(s.ev)
	}
	return event.Value{}
}

func toCEL(v event.Value) ref.Val {
	switch v.Kind() {
	case event.Null:
		return types.NullValue
	case event.UintValue:
		return types.Int(min(v.Uint(), math.MaxInt64))
	case event.BoolValue:
		return types.Bool(v.Bool())
	case event.IntValue:
		return types.Int(v.Int())
	case event.FloatValue:
		return types.Double(v.Float())
	case event.TimeValue:
		return types.Timestamp{Time: v.Time()}
	case event.StringValue:
		return types.String(v.Str())
	}
	return types.String(v.String())
}
