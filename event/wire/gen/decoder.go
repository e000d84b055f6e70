package main

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event/internal/messages"
)

// names are the fields with recurring text, which events share. Text that differs from event to event, such as
// arguments, would only displace it.
var names = []protoreflect.Name{
	"node", "namespace", "pod", "container", "pod_uid", "workload", "comm", "service", "service_namespace",
	"type", "rcode", "reason", "location", "device", "signal", "name", "abi", "errno", "source", "uuid", "driver",
}

// notNames are fields with one of those names whose text differs from event to event.
var notNames = []protoreflect.FullName{"orb8.event.v1.Dns.name"}

// together are the messages that are allocated with their parent, because it usually has them. Fields of one list share
// the memory of one message: the parent usually has one of them.
var together = map[protoreflect.FullName][][]protoreflect.Name{
	"orb8.event.v1.Flow":      {{"src"}, {"dst"}, {"src_counters", "dst_counters"}},
	"orb8.event.v1.Tcp":       {{"src"}, {"dst"}},
	"orb8.event.v1.Dns":       {{"src"}, {"dst"}},
	"orb8.event.v1.Drop":      {{"src"}, {"dst"}},
	"orb8.event.v1.Resources": {{"cpu"}, {"run_queue"}, {"memory"}, {"pressure"}, {"io"}},
	"orb8.event.v1.Lost":      {{"caused_by"}},
}

// short are the byte fields that usually have at most shortBytes: addresses and commands. They are allocated with their
// message.
var short = []protoreflect.Name{"address", "comm", "parent_comm", "sender_comm"}

// writeDecoder writes for each message the struct that it is allocated in, and a method of Decoder that decodes it.
func writeDecoder(w *messages.Writer, top protoreflect.MessageDescriptor) error {
	w.Printf("import (\n\"math\"\n\n\"google.golang.org/protobuf/encoding/protowire\"\n\n")
	w.Printf("\"github.com/orb8-dev/kubectl-orb8/event\"\n)\n")
	w.Later(top)
	if err := checkRecursion(top, nil); err != nil {
		return err
	}
	return w.Each(func(m protoreflect.MessageDescriptor) error {
		if err := checkTables(m); err != nil {
			return err
		}
		writeSlot(w, m)
		return writeDecode(w, m)
	})
}

// checkRecursion refuses recursive messages: proto.Unmarshal limits their depth, and this decoder needs no limit.
func checkRecursion(m protoreflect.MessageDescriptor, within []protoreflect.FullName) error {
	if slices.Contains(within, m.FullName()) {
		return fmt.Errorf("%s: recursive messages are not supported", m.FullName())
	}
	within = append(slices.Clip(within), m.FullName())
	for i := range m.Fields().Len() {
		if f := m.Fields().Get(i); f.Message() != nil {
			if err := checkRecursion(f.Message(), within); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTables refuses fields in together that the message lacks.
func checkTables(m protoreflect.MessageDescriptor) error {
	for _, shared := range together[m.FullName()] {
		for _, name := range shared {
			f := m.Fields().ByName(name)
			if f == nil || f.Message() == nil || f.IsList() || f.Message() != m.Fields().ByName(shared[0]).Message() {
				return fmt.Errorf("%s.%s: no such message, or another one than %s", m.FullName(), name, shared[0])
			}
		}
	}
	return nil
}

// writeSlot writes the struct that a message is allocated in, with its optional numbers, short bytes and messages.
func writeSlot(w *messages.Writer, m protoreflect.MessageDescriptor) {
	w.Printf("\n// slot%[1]s is the memory of one %[1]s.\ntype slot%[1]s struct {\nm event.%[1]s\n", m.Name())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		switch {
		case f.HasOptionalKeyword():
			typ, _ := goNumber(f)
			w.Printf("%s %s\n", slotField(f), typ)
		case isShort(f):
			w.Printf("%s [shortBytes]byte\n", slotField(f))
		}
	}
	for _, shared := range together[m.FullName()] {
		f := m.Fields().ByName(shared[0])
		w.Printf("%s slot%s\n", slotField(f), f.Message().Name())
	}
	w.Printf("}\n")
	for i := range m.Fields().Len() {
		if f := m.Fields().Get(i); inOneof(f) {
			w.Printf("\n// slot%[1]s%[2]s is the memory of one %[1]s_%[2]s.\ntype slot%[1]s%[2]s struct {\n", m.Name(),
				messages.GoName(f.Name()))
			w.Printf("kind event.%s_%s\n slot%s\n}\n", m.Name(), messages.GoName(f.Name()), f.Message().Name())
		}
	}
}

// reused is the kind of event whose memory may be used again: see wire.Memory.
const reused protoreflect.FullName = "orb8.event.v1.Event.flow"

// slotField is the name of a field's memory in the struct of its message.
func slotField(f protoreflect.FieldDescriptor) string { return "of" + messages.GoName(f.Name()) }

func isShort(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.BytesKind && slices.Contains(short, f.Name())
}

// writeDecode writes the method that decodes a message into m. It allocates from p, which nothing in m uses yet.
func writeDecode(w *messages.Writer, m protoreflect.MessageDescriptor) error {
	w.Printf("\nfunc (d *Decoder) decode%[1]s(b []byte, m *event.%[1]s, p *slot%[1]s) {\n", m.Name())
	number, value := uses(m)
	w.Printf("for len(b) > 0 {\n tag, %s, %s, rest := next(b)\n switch tag {\n", number, value)
	w.Printf("case malformed:\nd.fail(errMalformed)\nreturn\n")
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if err := checkSupported(f); err != nil {
			return err
		}
		if err := writeField(w, m, f); err != nil {
			return err
		}
	}
	w.Printf("default:\naddUnknown(m, b[:len(b)-len(rest)])\n}\n b = rest\n }\n}\n")
	return nil
}

// uses returns the names of the variables for numbers and bytes, "_" if no field of the message has such a value.
func uses(m protoreflect.MessageDescriptor) (number, value string) {
	number, value = "_", "_"
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if _, v := goNumber(f); v != "" {
			number = "number"
		}
		if _, v := goNumber(f); v == "" || f.IsList() {
			value = "value"
		}
	}
	return number, value
}

// writeField writes the case of one field.
func writeField(w *messages.Writer, m protoreflect.MessageDescriptor, f protoreflect.FieldDescriptor) error {
	x := "m." + messages.GoName(f.Name())
	w.Printf("case %s: // %s\n", tag(f, f.Kind()), f.Name())
	switch f.Kind() {
	case protoreflect.MessageKind:
		return writeMessage(w, m, f, x)
	case protoreflect.StringKind, protoreflect.BytesKind:
		return writeText(w, f, x)
	}
	_, v := goNumber(f)
	if v == "" {
		return fmt.Errorf("%s: add %v to goNumber", f.FullName(), f.Kind())
	}
	switch {
	case f.IsList():
		if f.Kind() != protoreflect.Uint64Kind {
			return fmt.Errorf("%s: only lists of uint64 are supported", f.FullName())
		}
		w.Printf("%s = append(%[1]s, number)\n", x)
		w.Printf("case %s:\n%s = d.appendPacked(%[2]s, value)\n", tag(f, protoreflect.BytesKind), x)
	case f.HasOptionalKeyword():
		w.Printf("p.%s = %s\n%s = &p.%[1]s\n", slotField(f), v, x)
	default:
		w.Printf("%s = %s\n", x, v)
	}
	return nil
}

func writeText(w *messages.Writer, f protoreflect.FieldDescriptor, x string) error {
	switch {
	case f.IsList() || f.HasOptionalKeyword():
		return fmt.Errorf("%s: neither lists of text or bytes nor optional ones are supported", f.FullName())
	case f.Kind() == protoreflect.StringKind && slices.Contains(names, f.Name()) &&
		!slices.Contains(notNames, f.FullName()):
		w.Printf("%s = d.name(value)\n", x)
	case f.Kind() == protoreflect.StringKind:
		w.Printf("%s = d.text(value)\n", x)
	case isShort(f):
		w.Printf("%s = copyShort(&p.%s, value)\n", x, slotField(f))
	default:
		w.Printf("%s = append([]byte(nil), value...)\n", x)
	}
	return nil
}

// writeMessage writes the case of a message. A repeated occurrence is merged into the first one.
func writeMessage(
	w *messages.Writer, m protoreflect.MessageDescriptor, f protoreflect.FieldDescriptor, x string,
) error {
	if f.IsList() {
		return fmt.Errorf("%s: lists of messages are not supported", f.FullName())
	}
	w.Later(f.Message())
	name, message := messages.GoName(f.Name()), f.Message().Name()
	if inOneof(f) {
		oneof := messages.GoName(f.ContainingOneof().Name())
		memory := fmt.Sprintf("&slot%s%s{}", m.Name(), name)
		if f.FullName() == reused {
			memory = fmt.Sprintf("d.newSlot%s%s()", m.Name(), name)
		}
		w.Printf("q := %s\n k, ok := m.%s.(*event.%s_%s)\n", memory, oneof, m.Name(), name)
		w.Printf("if !ok {\n k = &q.kind\n k.%s = &q.m\n m.%s = k\n}\n", name, oneof)
		w.Printf("d.decode%s(value, k.%s, &q.slot%[1]s)\n", message, name)
		return nil
	}
	for _, shared := range together[m.FullName()] {
		if !slices.Contains(shared, f.Name()) {
			continue
		}
		w.Printf("q := &p.%s\n if %s != nil", slotField(m.Fields().ByName(shared[0])), x)
		for _, other := range shared {
			if other != f.Name() {
				w.Printf(" || m.%s == &q.m", messages.GoName(other))
			}
		}
		w.Printf(" {\nq = &slot%s{}\n}\n", message)
		w.Printf("if %s == nil {\n%[1]s = &q.m\n}\nd.decode%s(value, %[1]s, q)\n", x, message)
		return nil
	}
	w.Printf("q := &slot%s{}\n if %s == nil {\n%[2]s = &q.m\n}\nd.decode%[1]s(value, %[2]s, q)\n", message, x)
	return nil
}

// tag returns the Go expression of the tag of a field with values of a kind.
func tag(f protoreflect.FieldDescriptor, kind protoreflect.Kind) string {
	wireType := map[protoreflect.Kind]protowire.Type{
		protoreflect.Fixed64Kind: protowire.Fixed64Type, protoreflect.DoubleKind: protowire.Fixed64Type,
		protoreflect.Fixed32Kind: protowire.Fixed32Type, protoreflect.StringKind: protowire.BytesType,
		protoreflect.BytesKind: protowire.BytesType, protoreflect.MessageKind: protowire.BytesType,
	}
	return fmt.Sprintf("%d<<3 | %d", f.Number(), wireType[kind]) // 0, varint, for all other kinds
}

// goNumber returns the Go type of a numeric field and the expression of its value; empty for kinds that no field has.
func goNumber(f protoreflect.FieldDescriptor) (typ, value string) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return "bool", "number != 0"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "uint64", "number"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "uint32", "uint32(number)"
	case protoreflect.Int32Kind:
		return "int32", "int32(number)"
	case protoreflect.Sint64Kind:
		return "int64", "protowire.DecodeZigZag(number)"
	case protoreflect.DoubleKind:
		return "float64", "math.Float64frombits(number)"
	case protoreflect.EnumKind:
		enum := "event." + string(f.Enum().Name())
		return enum, enum + "(number)"
	}
	return "", ""
}
