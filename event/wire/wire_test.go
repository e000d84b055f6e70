package wire

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
)

// allKinds is an input of eventtest.Events: events of all kinds with ordinary and with extreme values.
func allKinds() (in []byte) {
	kinds := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields().Len()
	for n := range 8 * kinds {
		in = append(in, byte(n), 1, byte(n/kinds), 3)
		for i := range 3 {
			in = append(in, byte(n*7+i), byte(n*13+5*i), byte(n*29+i))
		}
	}
	return in
}

func TestMarshal_AsProtoDoes(t *testing.T) {
	kinds := map[string]bool{}
	for _, ev := range eventtest.Events(allKinds(), time.Unix(1764000000, 0)) {
		encoded, err := Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		decoded := &event.Event{}
		if err := proto.Unmarshal(encoded, decoded); err != nil || !proto.Equal(ev, decoded) {
			t.Fatalf("%v: %v became %v", err, ev, decoded)
		}
		kinds[event.KindOf(ev).Name] = true
	}
	for _, k := range event.Kinds() {
		if !kinds[k.Name] {
			t.Errorf("no event of kind %s was tried", k.Name)
		}
	}
}

func TestAppend_KeepsUnknownFields(t *testing.T) {
	newer := append([]byte{0xfa, 0x7f, 1, 'x'}, 1<<3|1, 1, 0, 0, 0, 0, 0, 0, 0)
	var ev event.Event
	if err := proto.Unmarshal(newer, &ev); err != nil || ev.GetTime() != 1 {
		t.Fatalf("%v: %v", err, &ev)
	}
	encoded, err := Append([]byte("before"), &ev)
	if rest, ok := bytes.CutPrefix(encoded, []byte("before")); err != nil || !ok || len(rest) != len(newer) ||
		!bytes.Contains(rest, newer[:4]) {
		t.Errorf("%v: %q", err, encoded)
	}
}

// TestRefusesWhatIsNotText sets each text of each kind of event, one at a time.
func TestRefusesWhatIsNotText(t *testing.T) {
	fields := (&event.Event{}).ProtoReflect().Descriptor().Fields()
	tried := 0
	for i := range fields.Len() {
		tried += refusesText(t, func() (*event.Event, protoreflect.Message) {
			ev := &event.Event{}
			return ev, ev.ProtoReflect()
		}, fields.Get(i), 0)
	}
	if tried < 80 {
		t.Errorf("only %d texts were tried", tried)
	}
}

// refusesText tries a field of a message of a new event, and all those below it.
func refusesText(
	t *testing.T, create func() (*event.Event, protoreflect.Message), f protoreflect.FieldDescriptor, depth int,
) (tried int) {
	const notText = "a\xff"
	switch {
	case f.Kind() == protoreflect.StringKind:
		ev, m := create()
		if f.IsList() {
			m.Mutable(f).List().Append(protoreflect.ValueOfString("text"))
			m.Mutable(f).List().Append(protoreflect.ValueOfString(notText))
		} else {
			m.Set(f, protoreflect.ValueOfString(notText))
		}
		before := []byte("before")
		if b, err := Append(before, ev); err == nil || !bytes.Equal(b, before) {
			t.Errorf("%s is encoded", f.FullName())
		}
		return 1
	case f.Kind() == protoreflect.MessageKind && depth < 4:
		below := func() (*event.Event, protoreflect.Message) {
			ev, m := create()
			if f.IsList() {
				return ev, m.Mutable(f).List().AppendMutable().Message()
			}
			return ev, m.Mutable(f).Message()
		}
		fields := f.Message().Fields()
		for i := range fields.Len() {
			tried += refusesText(t, below, fields.Get(i), depth+1)
		}
	}
	return tried
}

// flow is half of a flow, as tracers send most.
func flow() *event.Event {
	return &event.Event{
		Time: 1764000000e9, Node: "node-1", Namespace: "demo", Pod: "web-6c7f9d5b8-x2x9z", Container: "web",
		PodUid: "5ecc7d4e-9d5e-4a8c-8a9e-b1f0f4c2a111", Workload: "deploy/web",
		Kind: &event.Event_Flow{Flow: &event.Flow{
			Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE, Observed: event.Side_SIDE_SRC,
			Src: &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000, Comm: "curl", Pid: 4711},
			Dst: &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 80},
			SrcCounters: &event.Counters{BytesSent: 1 << 20, BytesReceived: 1 << 30, PacketsSent: 700,
				PacketsReceived: 70_000, Retransmits: proto.Uint64(1), SrttMicros: proto.Uint32(300)},
			StartTime: 1764000000e9, LastTime: 1764000000e9, SocketCookie: 1 << 20, IsnValid: true, SrcIsn: 1 << 31,
			DstIsn: 1 << 30,
		}},
	}
}

func BenchmarkAppend(b *testing.B) {
	ev := flow()
	encoders := map[string]func([]byte) ([]byte, error){
		"wire":  func(buffer []byte) ([]byte, error) { return Append(buffer, ev) },
		"proto": func(buffer []byte) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(buffer, ev) },
	}
	for name, encode := range encoders {
		b.Run(name, func(b *testing.B) {
			var buffer []byte
			var err error
			b.ReportAllocs()
			for b.Loop() {
				if buffer, err = encode(buffer[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
