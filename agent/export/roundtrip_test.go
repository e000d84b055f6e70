package export

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
)

// TestRoundTrip exports events of all kinds that agents have, and makes events of the records again, as a store
// returns them.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	compared := map[string]int{}
	for range 100 {
		in := make([]byte, 1000)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		for _, ev := range eventtest.Events(in, time.Unix(1764000000, 0)) {
			if k := event.KindOf(ev); k != nil && !k.Row && !k.Payload {
				compareRoundTrip(t, ev)
				compared[k.Name]++
			}
		}
	}
	for _, k := range event.Kinds() {
		if !k.Row && !k.Payload && compared[k.Name] < 100 {
			t.Errorf("%s: %d events", k.Name, compared[k.Name])
		}
	}
}

// compareRoundTrip compares an event with what is made of its record.
func compareRoundTrip(t *testing.T, ev *event.Event) {
	t.Helper()
	normalize(ev.ProtoReflect())
	halve(ev)
	want := proto.CloneOf(ev)
	e := newEncoder("node-1", "v1", nil)
	if !e.add(encoded(t, ev), 7) {
		t.Fatal("refused")
	}
	r := decodeRequest(t, e)[0]
	b := otlp.FormOf(r.GetEventName()).Begin(ev.GetNode(), r.GetTimeUnixNano())
	for name, value := range storedRow(r) {
		if err := b.Set(name, value); err != nil {
			t.Fatalf("%v\n%v", err, want)
		}
	}
	if got := b.Finish(); !proto.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

// storedRow is what VictoriaLogs keeps of a record's attributes: texts.
func storedRow(r *logspb.LogRecord) map[string]string {
	row := map[string]string{}
	for _, a := range r.GetAttributes() {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			row[a.GetKey()] = v.StringValue
		case *commonpb.AnyValue_BoolValue:
			row[a.GetKey()] = strconv.FormatBool(v.BoolValue)
		case *commonpb.AnyValue_IntValue:
			row[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		case *commonpb.AnyValue_DoubleValue:
			row[a.GetKey()] = strconv.FormatFloat(v.DoubleValue, 'f', -1, 64)
		case *commonpb.AnyValue_ArrayValue:
			parts := []string{}
			for _, part := range v.ArrayValue.GetValues() {
				parts = append(parts, part.GetStringValue())
			}
			text, _ := json.Marshal(parts) // texts
			row[a.GetKey()] = string(text)
		}
	}
	return row
}

// normalize changes what no agent sends, and the exceptions that docs list.
func normalize(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			if f.Kind() == protoreflect.MessageKind {
				m.Clear(f)
			}
		case f.Kind() == protoreflect.MessageKind:
			normalize(v.Message())
			if proto.Size(v.Message().Interface()) == 0 && f.ContainingOneof() == nil {
				m.Clear(f) // an empty message says nothing
			}
		case f.Kind() == protoreflect.Uint64Kind:
			m.Set(f, protoreflect.ValueOfUint64(min(v.Uint(), math.MaxInt64)))
		case f.Kind() == protoreflect.Fixed64Kind:
			if v.Uint() > 9_000_000_000_000_000_000 {
				m.Clear(f) // a time after 2255
			}
		case f.Kind() == protoreflect.EnumKind:
			if f.Enum().Values().ByNumber(v.Enum()) == nil {
				m.Clear(f)
			}
		case f.Kind() == protoreflect.DoubleKind:
			n := event.Float(v.Float())
			if n.IsNull() {
				m.Clear(f)
			} else {
				m.Set(f, protoreflect.ValueOfFloat64(n.Float()))
			}
		case f.Kind() == protoreflect.BytesKind:
			if isAddress(f) && !slices.Contains([]int{4, 16}, len(v.Bytes())) {
				m.Clear(f)
			}
		}
		return true
	})
}

func isAddress(f protoreflect.FieldDescriptor) bool {
	return f.Name() == "address" || f.Name() == "service_address"
}

// halve makes a half of a flow: the end that is observed has counters, and no id yet.
func halve(ev *event.Event) {
	if lost := ev.GetLost(); lost.GetStage() == 0 && lost.GetSource() == otlp.ExportStage {
		lost.Source = ""
	}
	f := ev.GetFlow()
	if f == nil {
		return
	}
	f.Id = ""
	if f.GetObserved() == event.Side_SIDE_DST {
		f.SrcCounters = nil
	} else {
		f.DstCounters = nil
	}
	if !f.IsnValid {
		f.SrcIsn, f.DstIsn = 0, 0
	}
}

// TestRoundTrip_Command shows which arguments a command line keeps.
func TestRoundTrip_Command(t *testing.T) {
	for _, args := range []string{"a\x00b\x00", "a b\x00\x00'\x00", "\xff\xfe\x00x", "\x00", "\x00\x00", "$'a'\x00",
		"\\\x00\n\t\x01\x00", "訂單\x00\u200b\x00\U000e0001\x00", "cut", " \x00 "} {
		ev := &event.Event{Time: 1, Kind: &event.Event_Exec{Exec: &event.Exec{Args: []byte(args)}}}
		compareRoundTrip(t, ev)
	}
}

// FuzzRoundTrip takes texts that processes choose.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a\x00"), []byte("comm"), "example.com.")
	f.Fuzz(func(t *testing.T, args, comm []byte, name string) {
		if !utf8.ValidString(name) {
			return
		}
		for _, ev := range []*event.Event{
			{Time: 1, Kind: &event.Event_Exec{Exec: &event.Exec{Args: args}}},
			{Time: 1, Kind: &event.Event_Dns{Dns: &event.Dns{Name: name, Answers: name}}},
		} {
			compareRoundTrip(t, ev)
		}
		// Text that looks like quoted bytes is read as these bytes, which outputs show in the same way.
		ev := &event.Event{Time: 1, Kind: &event.Event_Exec{Exec: &event.Exec{Comm: comm}}}
		column := event.KindByName("exec").Column("comm")
		want := column.Get(ev)
		if want.IsNull() {
			return
		}
		b := otlp.FormOf("orb8.exec").Begin("", 1)
		if err := b.Set("orb8.comm", want.Str()); err != nil {
			t.Fatal(err)
		}
		if got := column.Get(b.Finish()); got != want {
			t.Errorf("%q, want %q", got.Str(), want.Str())
		}
	})
}
