package otlp

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Form describes the records of a kind.
type Form struct {
	Kind  *event.Kind
	field protoreflect.FieldDescriptor
	set   map[string]setter
}

// setter sets a field to the value that a text stands for.
type setter func(ev *event.Event, kind protoreflect.Message, text string) error

// forms are those of all kinds by the name of their records.
var forms = sync.OnceValue(func() map[string]*Form {
	all := map[string]*Form{}
	fields := (*event.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		if k := event.KindByName(fields.Get(i).JSONName()); !k.Row {
			all[EventName(k.Name)] = newForm(k, fields.Get(i))
		}
	}
	return all
})

// FormOf returns the form of the records with a name; nil: there is none.
func FormOf(eventName string) *Form { return forms()[eventName] }

// Attributes returns the names of the attributes that an event is made of, in the order of their bytes.
func (f *Form) Attributes() []string { return slices.Sorted(maps.Keys(f.set)) }

// derived are columns that are made of other fields, by kind: a record's text is for people.
var derived = map[string][]string{"drop": {"cause"}, "tcp": {"reason"}, "flow": {
	"id", "responses", "responseP50Micros", "responseP99Micros", "responseMaxMicros", "dst.responses",
	"dst.responseP50Micros", "dst.responseP99Micros", "dst.responseMaxMicros",
}}

func newForm(k *event.Kind, field protoreflect.FieldDescriptor) *Form {
	f := &Form{Kind: k, field: field, set: map[string]setter{
		Namespace: func(ev *event.Event, _ protoreflect.Message, s string) error { ev.Namespace = s; return nil },
		Pod:       func(ev *event.Event, _ protoreflect.Message, s string) error { ev.Pod = s; return nil },
		Container: func(ev *event.Event, _ protoreflect.Message, s string) error { ev.Container = s; return nil },
		PodUID:    func(ev *event.Event, _ protoreflect.Message, s string) error { ev.PodUid = s; return nil },
		Workload:  func(ev *event.Event, _ protoreflect.Message, s string) error { ev.Workload = s; return nil },
	}}
	for _, a := range AttributesOf(k) {
		if f.set[a.Name] != nil || slices.Contains(derived[k.Name], a.Field) {
			continue
		}
		if path := pathOf(k, field.Message(), a.Field); path != nil {
			f.set[a.Name] = newSetter(k, &a, path)
		}
	}
	return f
}

// pathOf returns the fields that lead to the one with a dotted JSON name; nil: there is no such field.
func pathOf(k *event.Kind, m protoreflect.MessageDescriptor, name string) (path []protoreflect.FieldDescriptor) {
	switch {
	case k.Name == "exec" && (name == "command" || name == "rawArgs"):
		name = "args"
	case k.Name == "flow":
		name = counterPath(name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if m == nil {
			return nil
		}
		f := m.Fields().ByJSONName(part)
		if f == nil {
			return nil
		}
		path, m = append(path, f), f.Message()
	}
	return path
}

// counterPath returns where a flow has what a column calls by a shorter name. The counters of a half are those of its
// observed end: they are read as src's, and moved once all is read.
func counterPath(name string) string {
	switch name {
	case "bytesSent", "bytesReceived", "packetsSent", "packetsReceived", "retransmits", "srttMicros":
		return "srcCounters." + name
	case "responseHistogram":
		return "srcCounters.responses.histogram"
	case "responseHistogramMax":
		return "srcCounters.responses.maxMicros"
	case "responseHistogramTotal":
		return "srcCounters.responses.totalMicros"
	case "src.dropped", "dst.dropped":
		return name[:3] + "Counters.dropped"
	}
	return name
}

// newSetter returns what sets the last field of a path.
func newSetter(k *event.Kind, a *Attribute, path []protoreflect.FieldDescriptor) setter {
	last := path[len(path)-1]
	var words []string
	if a.Column != nil {
		words = a.Column.Enum
	}
	isAddress := a.Column != nil && a.Column.Type == event.Address
	return func(ev *event.Event, m protoreflect.Message, text string) error {
		for _, f := range path[:len(path)-1] {
			m = m.Mutable(f).Message()
		}
		if last.IsList() {
			return appendNumbers(m.Mutable(last).List(), text)
		}
		var v protoreflect.Value
		var err error
		switch {
		case last.Kind() == protoreflect.EnumKind:
			v, err = parseWordOf(words, text)
			if stage := ev.GetLost(); err != nil && stage != nil && text == ExportStage {
				// There is no such stage: an agent says where the records of its export are lost by the source.
				stage.Source = ExportStage
				v, err = protoreflect.ValueOfEnum(protoreflect.EnumNumber(event.LossStage_LOSS_STAGE_QUEUE)), nil
			}
		case isAddress:
			var addr netip.Addr
			if addr, err = netip.ParseAddr(text); err == nil && addr.Zone() != "" {
				err = errors.New("a zone")
			}
			v = protoreflect.ValueOfBytes(addr.AsSlice())
		case a.IsList():
			v = protoreflect.ValueOfString(joined(text))
		case k.Name == "exec" && a.Field == "command":
			args, ok := parseCommand(text)
			if len(m.Get(last).Bytes()) > 0 || !ok { // the exact ones are known
				return nil
			}
			v = protoreflect.ValueOfBytes(args)
		case k.Name == "exec" && a.Field == "rawArgs":
			var raw []byte
			raw, err = base64.StdEncoding.DecodeString(text)
			v = protoreflect.ValueOfBytes(raw)
		default:
			v, err = parseScalar(last, text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		m.Set(last, v)
		if f := ev.GetFlow(); f != nil && (a.Field == "srcIsn" || a.Field == "dstIsn") {
			f.IsnValid = true
		}
		return nil
	}
}

// parseWordOf returns the number of a word; the first has 1.
func parseWordOf(words []string, text string) (v protoreflect.Value, err error) {
	i := slices.Index(words, text)
	if i < 0 {
		return v, fmt.Errorf("%q: want one of %s", text, strings.Join(words, ", "))
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(i + 1)), nil
}

// parseScalar parses the text of a value.
func parseScalar(f protoreflect.FieldDescriptor, text string) (v protoreflect.Value, err error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.ToValidUTF8(text, "\ufffd")), nil
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(parseText(text)), nil
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(text)
		return protoreflect.ValueOfBool(b), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(text, 10, 32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		n, err := strconv.ParseInt(text, 10, 32)
		return protoreflect.ValueOfInt32(int32(n)), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		return protoreflect.ValueOfInt64(n), err
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(text, 64)
		return protoreflect.ValueOfFloat64(n), err
	case protoreflect.Fixed64Kind:
		ns, err := ParseTime(text)
		return protoreflect.ValueOfUint64(ns), err
	}
	return v, fmt.Errorf("%s has no text", f.FullName())
}

// ParseTime returns ns since the Unix epoch of a time as RFC 3339 has it.
func ParseTime(text string) (uint64, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, err
	}
	// UnixNano is defined for the years 1678 to 2262.
	if t.Unix() < 0 || t.Year() > 2261 {
		return 0, fmt.Errorf("%q: want a time from 1970 to 2261", text)
	}
	return uint64(t.UnixNano()), nil
}

// joined returns the texts of a JSON array with commas between.
func joined(text string) string {
	var parts []string
	if json.Unmarshal([]byte(text), &parts) != nil {
		return strings.ToValidUTF8(text, "\ufffd") // a store that keeps one text as it is
	}
	return strings.Join(parts, ",")
}

func appendNumbers(list protoreflect.List, text string) error {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return err
		}
		list.Append(protoreflect.ValueOfUint64(n))
	}
	return nil
}

// Builder makes an event of the attributes of a record.
type Builder struct {
	form *Form
	ev   *event.Event
	kind protoreflect.Message
}

// Begin begins an event of a node.
func (f *Form) Begin(node string, at uint64) *Builder {
	ev := &event.Event{Node: node, Time: at}
	return &Builder{form: f, ev: ev, kind: ev.ProtoReflect().Mutable(f.field).Message()}
}

// Set takes an attribute. An unknown one is ignored: a newer version may have written it, or a collector.
func (b *Builder) Set(name, value string) error {
	set := b.form.set[name]
	if set == nil || value == "" {
		return nil
	}
	return set(b.ev, b.kind, value)
}

// Finish returns the event.
func (b *Builder) Finish() *event.Event {
	flow := b.ev.GetFlow()
	if flow.GetObserved() != event.Side_SIDE_DST || flow.GetSrcCounters() == nil {
		return b.ev
	}
	// src has sent what dst has received.
	seen := flow.SrcCounters
	seen.BytesSent, seen.BytesReceived = seen.BytesReceived, seen.BytesSent
	seen.PacketsSent, seen.PacketsReceived = seen.PacketsReceived, seen.PacketsSent
	if own := flow.DstCounters; own != nil {
		seen.Dropped = own.Dropped
	}
	flow.SrcCounters, flow.DstCounters = nil, seen
	return b.ev
}
