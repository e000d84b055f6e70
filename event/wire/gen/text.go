package main

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event/internal/messages"
)

// writeChecks writes a function for each message that checks its text.
func writeChecks(w *messages.Writer, top protoreflect.MessageDescriptor) error {
	w.Printf("import (\n\"unicode/utf8\"\n\n\"github.com/orb8-dev/kubectl-orb8/event\"\n)\n")
	w.Later(top)
	return w.Each(func(m protoreflect.MessageDescriptor) error { return writeCheck(w, m) })
}

// writeCheck writes the check of one message. Text comes first, then what else it holds.
func writeCheck(w *messages.Writer, m protoreflect.MessageDescriptor) error {
	w.Printf("\nfunc isText%[1]s(m *event.%[1]s) bool {\n", m.Name())
	var oneof []protoreflect.FieldDescriptor
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if err := checkSupported(f); err != nil {
			return err
		}
		if inOneof(f) {
			oneof = append(oneof, f)
		} else {
			checkField(w, f, "m."+messages.GoName(f.Name()))
		}
	}
	if len(oneof) > 0 {
		w.Printf("switch k := m.%s.(type) {\n", messages.GoName(oneof[0].ContainingOneof().Name()))
		for _, f := range oneof {
			name := messages.GoName(f.Name())
			w.Printf("case *event.%s_%s:\nreturn k == nil || k.%[2]s == nil || isText%[3]s(k.%[2]s)\n", m.Name(), name,
				f.Message().Name())
			w.Later(f.Message())
		}
		w.Printf("}\n")
	}
	w.Printf("return true\n}\n")
	return nil
}

// checkField writes the check of one field, x in Go.
func checkField(w *messages.Writer, f protoreflect.FieldDescriptor, x string) {
	var condition string
	v := x
	if f.IsList() {
		v = "v"
	}
	switch {
	case f.Kind() == protoreflect.MessageKind:
		condition = fmt.Sprintf("%s != nil && !isText%s(%[1]s)", v, f.Message().Name())
		w.Later(f.Message())
	case f.Kind() != protoreflect.StringKind:
		return
	case f.HasOptionalKeyword():
		condition = fmt.Sprintf("%s != nil && !utf8.ValidString(*%[1]s)", v)
	default:
		condition = fmt.Sprintf("!utf8.ValidString(%s)", v)
	}
	check := fmt.Sprintf("if %s { return false }\n", condition)
	if f.IsList() {
		check = fmt.Sprintf("for _, v := range %s { %s }\n", x, check)
	}
	w.Printf("%s", check)
}
