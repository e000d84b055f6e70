package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var started = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func ns(t time.Time) uint64 { return uint64(t.UnixNano()) }

func live(kinds ...string) *Checker {
	c := Stream(kinds, started)
	c.At(started)
	return c
}

// unbounded are the fields of which every value is harmless: each is an identity, or fits whatever it is put into.
var unbounded = []string{
	"Flow.src_isn", "Flow.dst_isn", "Flow.socket_cookie", "Tcp.socket_cookie", "SyscallSummary.total_nanos",
	"Syscall.result",
}

// TestCheck_BoundsEveryField gives each field of each kind that a tracer sends a value that no honest tracer has.
func TestCheck_BoundsEveryField(t *testing.T) {
	kinds := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		kind := kinds.Get(i)
		k := event.KindByName(kind.JSONName())
		if k.Row && !k.Recorded {
			continue
		}
		checker := func() *Checker { return live() }
		if k.Recorded {
			checker = func() *Checker { return Recording([]string{k.Name}, started) }
		}
		t.Run(kind.JSONName(), func(t *testing.T) {
			fields := 0
			for _, path := range paths(nil, (&event.Event{}).ProtoReflect().Descriptor(), kind) {
				last := path[len(path)-1]
				ev := with(path, kind, nil)
				if err := checker().Check(ev); err != nil && last.Kind() != protoreflect.MessageKind {
					t.Fatalf("%s: the smallest event is refused: %v", names(path), err)
				}
				if k.Recorded && last.Name() == "time" {
					continue // a recording lasts longer than clocks differ: TestCheck_Times
				}
				for _, v := range absurd(t, last) {
					fields++
					if checker().Check(with(path, kind, &v)) == nil {
						t.Errorf("%s: %.40v is accepted", names(path), v.Interface())
					}
				}
			}
			if fields == 0 {
				t.Error("no field was tried")
			}
		})
	}
}

// paths lists the ways to every field of a message that is no message itself.
func paths(
	to []protoreflect.FieldDescriptor, m protoreflect.MessageDescriptor, kind protoreflect.FieldDescriptor,
) (all [][]protoreflect.FieldDescriptor) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() && f != kind {
			continue
		}
		path := append(slices.Clone(to), f)
		if f.Kind() == protoreflect.MessageKind && !f.IsList() {
			all = append(all, paths(path, f.Message(), kind)...)
			continue
		}
		all = append(all, path)
	}
	return all
}

// with is an event of a kind with one field set.
func with(path []protoreflect.FieldDescriptor, kind protoreflect.FieldDescriptor, v *protoreflect.Value) *event.Event {
	ev := &event.Event{Time: ns(started)}
	m := ev.ProtoReflect()
	m.Mutable(kind)
	if v == nil {
		return ev
	}
	for _, f := range path[:len(path)-1] {
		m = m.Mutable(f).Message()
	}
	f := path[len(path)-1]
	if !f.IsList() {
		m.Set(f, *v)
		return ev
	}
	list := m.Mutable(f).List()
	n := 1
	if !v.IsValid() {
		n = 1000
	}
	for range n {
		if v.IsValid() {
			list.Append(*v)
		} else {
			list.Append(list.NewElement())
		}
	}
	return ev
}

// absurd returns values of a field that must be refused. The invalid Value stands for a long list.
func absurd(t *testing.T, f protoreflect.FieldDescriptor) (all []protoreflect.Value) {
	name := strings.TrimPrefix(string(f.FullName()), "orb8.event.v1.")
	if slices.Contains(unbounded, name) {
		return nil
	}
	if f.IsList() {
		all = append(all, protoreflect.Value{})
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		all = append(all, protoreflect.ValueOfString(strings.Repeat("a", 1<<17)))
	case protoreflect.BytesKind:
		all = append(all, protoreflect.ValueOfBytes(make([]byte, 1<<17)))
		if strings.HasSuffix(name, "address") {
			all = append(all, protoreflect.ValueOfBytes(make([]byte, 5)))
		}
	case protoreflect.EnumKind:
		for _, n := range []protoreflect.EnumNumber{-1, 1000, math.MaxInt32} {
			all = append(all, protoreflect.ValueOfEnum(n))
		}
	case protoreflect.DoubleKind:
		for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64} {
			all = append(all, protoreflect.ValueOfFloat64(f))
		}
	case protoreflect.Uint64Kind:
		all = append(all, protoreflect.ValueOfUint64(math.MaxUint64))
	case protoreflect.Fixed64Kind:
		for _, n := range []uint64{math.MaxUint64, ns(started.Add(48 * time.Hour))} {
			all = append(all, protoreflect.ValueOfUint64(n))
		}
	case protoreflect.Uint32Kind:
		if strings.HasSuffix(name, "port") {
			all = append(all, protoreflect.ValueOfUint32(1<<16))
		}
	case protoreflect.BoolKind, protoreflect.MessageKind, protoreflect.Int32Kind: // each value is harmless
	default:
		t.Errorf("no bound is known for the type %v of %s: write one in event/check/gen (bound), and add values "+
			"that it "+
			"refuses to this function; or use a type of the other events", f.Kind(), name)
	}
	return all
}

func names(path []protoreflect.FieldDescriptor) string {
	var all []string
	for _, f := range path {
		all = append(all, string(f.Name()))
	}
	return strings.Join(all, ".")
}

func TestCheck_Kinds(t *testing.T) {
	for _, k := range event.Kinds() {
		ev := &event.Event{Time: ns(started)}
		m := ev.ProtoReflect()
		m.Mutable(m.Descriptor().Fields().ByJSONName(k.Name))
		own := k.Name == "lost" || k.Name == "nodeStatus"
		if err := live().Check(ev); (err != nil) != k.Row {
			t.Errorf("%s: %v", k.Name, err)
		}
		if err := live("flow").Check(ev); (err == nil) != (own || k.Name == "flow") {
			t.Errorf("%s in a session of flows: %v", k.Name, err)
		}
		if err := Recording([]string{"flow", k.Name}, started).Check(ev); (err != nil) != (k.Row && !k.Recorded) {
			t.Errorf("%s of a recording: %v", k.Name, err)
		}
	}
	for _, ev := range []*event.Event{
		nil, {Time: ns(started)}, {Time: ns(started), Kind: (*event.Event_Flow)(nil)},
		{Time: ns(started), Kind: &event.Event_Gpu{}},
	} {
		if err := live().Check(ev); err == nil {
			t.Errorf("%v is accepted", ev)
		}
	}
}

func TestCheck_Times(t *testing.T) {
	at := func(ns uint64) *event.Event {
		return &event.Event{Time: ns, Kind: &event.Event_Flow{Flow: &event.Flow{}}}
	}
	late := live()
	late.At(started.Add(30 * 24 * time.Hour))
	tests := []struct {
		name   string
		c      *Checker
		time   uint64
		accept bool
	}{
		{"now", live(), ns(started), true},
		{"a clock that is an hour slow", live(), ns(started.Add(-time.Hour)), true},
		{"a clock that is an hour fast", live(), ns(started.Add(time.Hour)), true},
		{"two days ago", live(), ns(started.Add(-48 * time.Hour)), false},
		{"in two days", live(), ns(started.Add(48 * time.Hour)), false},
		{"in two days, a month later", late, ns(started.Add(48 * time.Hour)), true},
		{"none", live(), 0, false},
		{"before 1970", live(), 1<<64 - 1e9, false},
		{"after 2262", live(), 1 << 63, false},
		{"recorded a year later", Recording(nil, started), ns(started.AddDate(1, 0, 0)), true},
		{"recorded a year before", Recording(nil, started), ns(started.AddDate(-1, 0, 0)), false},
		{"recorded before 1970", Recording(nil, started), 1<<64 - 1e9, false},
		{"before 1970 in a recording without a time", Recording(nil, time.Time{}), 1<<64 - 1e9, false},
		{"before 1970 in a recording of 9999", Recording(nil, started.AddDate(7973, 0, 0)), 1<<64 - 1e9, false},
	}
	for _, test := range tests {
		if err := test.c.Check(at(test.time)); (err == nil) != test.accept {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestCheck_ParentCycles(t *testing.T) {
	device := func(uuid, parent string) *event.Event {
		return &event.Event{Time: ns(started), Node: "n", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Gpu: &event.GpuDevice{Uuid: uuid, Parent: parent},
		}}}
	}
	c := live()
	for _, e := range []struct {
		uuid, parent string
		accept       bool
	}{
		{"GPU-1", "", true}, {"MIG-1", "GPU-1", true}, {"MIG-2", "GPU-1", true}, {"MIG-1", "GPU-1", true},
		{"GPU-1", "MIG-1", false}, {"MIG-3", "MIG-1", false}, {"GPU-1", "GPU-2", false}, {"GPU-3", "GPU-3", false},
		{"GPU-1", "", true},
	} {
		if err := c.Check(device(e.uuid, e.parent)); (err == nil) != e.accept {
			t.Errorf("%s of %q: %v", e.uuid, e.parent, err)
		}
	}
	for i := range 100_000 {
		_ = c.Check(device(fmt.Sprint("a", i), fmt.Sprint("b", i)))
	}
	if len(c.gpus) > maxParts+1 {
		t.Errorf("%d devices are remembered", len(c.gpus))
	}
}

func TestCheck_LossSources(t *testing.T) {
	for _, c := range []*Checker{live(), Recording(nil, started)} {
		seen := map[string]bool{}
		for i := range 10_000 {
			lost := &event.Lost{Source: fmt.Sprint(i), Count: 1}
			ev := &event.Event{Time: ns(started), Node: "n", Kind: &event.Event_Lost{Lost: lost}}
			if err := c.Check(ev); err != nil {
				t.Fatal(err)
			}
			seen[ev.GetLost().GetSource()] = true
		}
		if len(seen) != maxSources+1 || !seen[otherSource] {
			t.Errorf("%d sources", len(seen))
		}
	}
}

func TestCheck_StatusRate(t *testing.T) {
	status := &event.Event{Time: ns(started), Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{}}}
	c, accepted := live(), 0
	for i := range 100_000 {
		c.At(started.Add(time.Duration(i) * time.Second / 10_000)) // ten seconds
		if c.Check(status) == nil {
			accepted++
		}
	}
	if accepted < statusBurst || accepted > statusBurst+10 {
		t.Errorf("%d of 100,000 in ten seconds", accepted)
	}
}

// BenchmarkCheck is what the border costs for each event: a half of a flow, as tracers send most.
func BenchmarkCheck(b *testing.B) {
	ev := &event.Event{
		Time: ns(started), Node: "node-1", Namespace: "demo", Pod: "web-6c7f9d5b8-x2x9z", Container: "web",
		PodUid:   "1234",
		Workload: "deploy/web",
		Kind: &event.Event_Flow{Flow: &event.Flow{
			Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE, Observed: event.Side_SIDE_SRC,
			Src:         &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000, Comm: "curl"},
			Dst:         &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 80},
			SrcCounters: &event.Counters{BytesSent: 1, Retransmits: proto.Uint64(1), SrttMicros: proto.Uint32(3)},
			StartTime:   ns(started), LastTime: ns(started),
		}},
	}
	c := live()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Check(ev); err != nil {
			b.Fatal(err)
		}
	}
}
