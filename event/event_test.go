package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// of makes an event with the member of the oneof that a field describes, empty.
func of(t *testing.T, field protoreflect.FieldDescriptor) *Event {
	t.Helper()
	ev := &Event{}
	ev.ProtoReflect().Set(field, ev.ProtoReflect().NewField(field))
	return ev
}

func kindFields() protoreflect.FieldDescriptors {
	return (&Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
}

func TestEveryKindOfEventHasColumns(t *testing.T) {
	fields := kindFields()
	if fields.Len() != len(Kinds()) {
		t.Errorf("the oneof of event.proto has %d members, event/kind.go %d kinds", fields.Len(), len(Kinds()))
	}
	common := len(commonColumns(""))
	for i := range fields.Len() {
		name := fields.Get(i).JSONName()
		ev := of(t, fields.Get(i))
		k := KindOf(ev)
		if k == nil || k.Name != name {
			t.Errorf("kinds lack %s: add a newKind(%q, ...) to event/kind.go", name, name)
			continue
		}
		if KindByName(name) != k {
			t.Errorf("%s is not found by its name", name)
		}
		if len(k.Columns) <= common {
			t.Errorf("%s has no columns of its own", name)
		}
		if !slices.ContainsFunc(k.Columns[common:], func(c Column) bool { return c.Outputs&InTable != 0 }) {
			t.Errorf("%s has no column in a table", name)
		}
	}
	if KindOf(&Event{}) != nil {
		t.Error("an event without a kind has one")
	}
}

// TestEveryFieldHasAColumn fails when a message gains a field that nobody shows. Fields that only serve the join, or
// that another column composes, are listed.
func TestEveryFieldHasAColumn(t *testing.T) {
	hidden := []string{
		"flow.src", "flow.dst", "flow.srcCounters", "flow.dstCounters", // objects
		"tcp.src", "tcp.dst",
		"tcp.roleKnown", "tcp.processEnded", // the latter shown as reason
		"flow.srcIsn", "flow.dstIsn", "flow.isnValid", "flow.roleKnown", "flow.socketCookie", // for the join
		"dns.src", "dns.dst", "drop.src", "drop.dst", "flowSum.src", "flowSum.dst",
		"exec.args",                // shown as command
		"syscallSummary.histogram", // shown as quantiles
		"podVerdict.shares",        // a column for each cause
	}
	fields := kindFields()
	for i := range fields.Len() {
		kind := fields.Get(i).JSONName()
		var each func(prefix string, members protoreflect.FieldDescriptors)
		each = func(prefix string, members protoreflect.FieldDescriptors) {
			for j := range members.Len() {
				name := prefix + members.Get(j).JSONName()
				switch {
				case slices.Contains(hidden, kind+"."+name):
				case members.Get(j).Message() != nil:
					each(name+".", members.Get(j).Message().Fields())
				case KindByName(kind).Column(name) == nil:
					t.Errorf("%s.%s has no column: add it to the columns of the kind, or to hidden here", kind, name)
				}
			}
		}
		each("", fields.Get(i).Message().Fields())
	}
	flow := KindByName("flow")
	for _, end := range []string{"src.", "dst."} {
		for _, m := range []proto.Message{&Endpoint{}, &Counters{}} {
			members := m.ProtoReflect().Descriptor().Fields()
			for j := range members.Len() {
				name := members.Get(j).JSONName()
				if name != "podUid" && flow.Column(end+name) == nil {
					t.Errorf("%s%s has no column", end, name)
				}
			}
		}
	}
}

func TestColumnsAreWhole(t *testing.T) {
	for _, k := range Kinds() {
		seen := map[string]bool{}
		for i := range k.Columns {
			c := &k.Columns[i]
			if seen[c.Name] {
				t.Errorf("%s has %s twice", k.Name, c.Name)
			}
			seen[c.Name] = true
			if c.Header == "" || c.Header != strings.ToUpper(c.Header) || strings.Contains(c.Header, " ") {
				t.Errorf("%s.%s has the header %q", k.Name, c.Name, c.Header)
			}
			if !strings.HasSuffix(c.Doc, ".") || strings.Contains(c.Doc, "\n") {
				t.Errorf("%s.%s has the doc %q, want a sentence", k.Name, c.Name, c.Doc)
			}
			if (c.Type == Enum) != (c.Enum != nil) {
				t.Errorf("%s.%s has the words %v", k.Name, c.Name, c.Enum)
			}
			if (c.Outputs&InJSON != 0) != (c.Get != nil) {
				t.Errorf("%s.%s has a getter or is in JSON, not both", k.Name, c.Name)
			}
			if c.Outputs == 0 || c.Get == nil && c.Show == nil {
				t.Errorf("%s.%s shows nowhere", k.Name, c.Name)
			}
		}
	}
}

func TestUnknownIsNullInEveryColumn(t *testing.T) {
	fields := kindFields()
	for i := range fields.Len() {
		ev := of(t, fields.Get(i))
		k := KindOf(ev)
		if k == nil {
			continue // TestEveryKindOfEventHasColumns names it
		}
		for j := range k.Columns {
			c := &k.Columns[j]
			if c.Get != nil && c.Get(ev).IsNull() == c.Required {
				t.Errorf("%s.%s of an empty event is %v", k.Name, c.Name, c.Get(ev))
			}
			if cell := string(c.AppendCell(nil, ev, &View{})); !c.Required && cell != NotAvailable {
				t.Errorf("%s.%s of an empty event shows %q", k.Name, c.Name, cell)
			}
		}
		line := string(AppendJSON(nil, ev))
		var parsed map[string]any
		if err := json.Unmarshal([]byte(line), &parsed); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if got := strings.Count(line, "null"); got < 5 {
			t.Errorf("%s has %d nulls", line, got)
		}
	}
}

func TestEnumsHaveAWordForEveryValue(t *testing.T) {
	for _, e := range []struct {
		values protoreflect.EnumValueDescriptors
		word   func(int32) string
		want   map[int32]string
	}{
		{Protocol(0).Descriptor().Values(), func(n int32) string { return Protocol(n).Word() },
			map[int32]string{1: "tcp", 4: "icmpv6"}},
		{Phase(0).Descriptor().Values(), func(n int32) string { return Phase(n).Word() },
			map[int32]string{3: "closed"}},
		{Side(0).Descriptor().Values(), func(n int32) string { return Side(n).Word() }, map[int32]string{1: "src"}},
		{TCPState(0).Descriptor().Values(), func(n int32) string { return TCPState(n).Word() },
			map[int32]string{8: "CLOSE_WAIT"}},
		{LossStage(0).Descriptor().Values(), func(n int32) string { return LossStage(n).Word() },
			map[int32]string{5: "stream-gap"}},
		{Confidence(0).Descriptor().Values(), func(n int32) string { return Confidence(n).Word() },
			map[int32]string{3: "high"}},
		{NodeState(0).Descriptor().Values(), func(n int32) string { return NodeState(n).Word() },
			map[int32]string{4: "failed"}},
	} {
		seen := map[string]bool{}
		for i := range e.values.Len() {
			n := int32(e.values.Get(i).Number())
			w := e.word(n)
			if (w == "") != (n == 0) || seen[w] {
				t.Errorf("%s is %q", e.values.Get(i).FullName(), w)
			}
			seen[w] = true
			if want, ok := e.want[n]; ok && w != want {
				t.Errorf("%s is %q, want %q", e.values.Get(i).FullName(), w, want)
			}
		}
		if w := e.word(99); w != "" {
			t.Errorf("a value of a later version is %q", w)
		}
	}
}

func flow(src, dst *Counters) *Event {
	return &Event{Kind: &Event_Flow{Flow: &Flow{SrcCounters: src, DstCounters: dst}}}
}

func TestCountersAreSeenFromSrc(t *testing.T) {
	a := &Counters{BytesSent: 1, BytesReceived: 2, PacketsSent: 3, PacketsReceived: 4, Retransmits: proto.Uint64(5),
		SrttMicros: proto.Uint32(6)}
	b := &Counters{BytesSent: 10, BytesReceived: 20, PacketsSent: 30, PacketsReceived: 40,
		Retransmits: proto.Uint64(50), SrttMicros: proto.Uint32(60)}
	bare := &Counters{}
	for name, c := range map[string]struct {
		ev   *Event
		want string
	}{
		"src only":           {flow(a, nil), "1 2 3 4 5 6"},
		"dst only, mirrored": {flow(nil, b), "20 10 40 30 50 60"},
		"both":               {flow(a, b), "1 2 3 4 55 6"},
		"no rtt at src":      {flow(bare, b), "0 0 0 0 50 60"},
		"udp":                {flow(bare, nil), "0 0 0 0 n/a n/a"},
		"neither":            {flow(nil, nil), "n/a n/a n/a n/a n/a n/a"},
	} {
		var got []string
		for _, col := range []string{"bytesSent", "bytesReceived", "packetsSent", "packetsReceived", "retransmits",
			"srttMicros"} {
			got = append(got, KindByName("flow").Column(col).Get(c.ev).String())
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: got %s, want %s", name, g, c.want)
		}
	}
}

func TestEndsAreShownByTheirBestName(t *testing.T) {
	v4, v6 := []byte{10, 0, 0, 1}, append(make([]byte, 15), 1)
	pod := func(e *Endpoint) *Endpoint {
		e.Namespace, e.Pod, e.Address, e.Port = "demo", "web", v4, 80
		return e
	}
	for _, c := range []struct {
		end      *Endpoint
		view     View
		protocol Protocol
		src, dst string
	}{
		{pod(&Endpoint{}), View{}, Protocol_PROTOCOL_TCP, "demo/web", "demo/web:80"},
		{pod(&Endpoint{}), View{Namespace: "demo"}, Protocol_PROTOCOL_TCP, "web", "web:80"},
		{pod(&Endpoint{}), View{Namespace: "other"}, Protocol_PROTOCOL_UDP, "demo/web", "demo/web:80"},
		{pod(&Endpoint{}), View{}, Protocol_PROTOCOL_ICMP, "demo/web", "demo/web"},
		{pod(&Endpoint{Service: "api", ServiceNamespace: "demo", ServicePort: 8}), View{}, Protocol_PROTOCOL_TCP,
			"demo/web", "demo/api:8->demo/web"},
		{&Endpoint{Service: "api", ServiceNamespace: "demo", ServicePort: 8, Address: v4}, View{Namespace: "demo"},
			Protocol_PROTOCOL_TCP, "10.0.0.1", "api:8"},
		{
			&Endpoint{Service: "api", ServicePort: 81, Address: v4, ServiceNote: ServiceNote_SERVICE_NOTE_NO_SUCH_PORT},
			View{},
			Protocol_PROTOCOL_TCP, "10.0.0.1", "api:81 (no such port)",
		},
		{
			pod(&Endpoint{Service: "api", ServicePort: 8, ServiceNote: ServiceNote_SERVICE_NOTE_INFERRED}), View{},
			Protocol_PROTOCOL_TCP, "demo/web", "api:8 (inferred)->demo/web",
		},
		{&Endpoint{Host: "example.com", Address: v4, Port: 443}, View{}, Protocol_PROTOCOL_TCP, "example.com",
			"example.com:443"},
		{&Endpoint{Node: "n", Address: v4, Port: 22}, View{}, Protocol_PROTOCOL_TCP, "node/n", "node/n:22"},
		{&Endpoint{Address: v4, Port: 22}, View{}, Protocol_PROTOCOL_TCP, "10.0.0.1", "10.0.0.1:22"},
		{&Endpoint{Address: v6, Port: 22}, View{}, Protocol_PROTOCOL_TCP, "::1", "[::1]:22"},
		{&Endpoint{Address: v6}, View{}, Protocol_PROTOCOL_ICMPV6, "::1", "::1"},
		{&Endpoint{}, View{}, Protocol_PROTOCOL_TCP, "", ""},
	} {
		ev := &Event{Kind: &Event_Flow{Flow: &Flow{Src: c.end, Dst: c.end, Protocol: c.protocol}}}
		if got := string(showSrc(nil, ev, &c.view)); got != c.src {
			t.Errorf("src %v shows %q, want %q", c.end, got, c.src)
		}
		if got := string(showDst(nil, ev, &c.view)); got != c.dst {
			t.Errorf("dst %v shows %q, want %q", c.end, got, c.dst)
		}
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 1023: "1023", 1024: "1.0Ki", 1536: "1.5Ki", 102348: "99.9Ki", 102400: "100Ki", 1<<20 - 1: "1.0Mi",
		1 << 30:       "1.0Gi",
		5<<40 + 1<<39: "5.5Ti", 1<<64 - 1: "16.0Ei", 1_023_488: "1.0Mi", 1_022_000: "998Ki",
	} {
		if got := string(AppendBytes(nil, n)); got != want {
			t.Errorf("%d bytes show as %s, want %s", n, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0µs", 999: "999µs", 1000: "1.0ms", 1240: "1.2ms", 250_000: "250ms", 999_499: "999ms", 999_500: "1.0s",
		61_000_000: "61.0s",
	} {
		if got := string(AppendMicros(nil, n)); got != want {
			t.Errorf("%d µs show as %s, want %s", n, got, want)
		}
	}
	for f, want := range map[float64]string{
		0: "0", 0.004: "0.00", 0.25: "0.25", 0.996: "1.0", 12.34: "12.3", 987: "987", 999.6: "1.0k", 12_345: "12.3k",
		2e6: "2.0M", 5e18: "5.0E",
	} {
		if got := string(AppendRate(nil, f)); got != want {
			t.Errorf("a rate of %v shows as %s, want %s", f, got, want)
		}
	}
	if got := string(Float(1.0 / 3).AppendJSON(nil)); got != "0.333" {
		t.Errorf("a third is %s", got)
	}
	if !Float(math.NaN()).IsNull() || !Float(math.Inf(1)).IsNull() {
		t.Error("what is no number has a value")
	}
	ns := uint64(1_700_000_000_000_000_007)
	if got := Time(ns).String(); got != "2023-11-14T22:13:20.000000007Z" {
		t.Errorf("a time is %s", got)
	}
	if got := string(appendClock(nil, ns, time.FixedZone("", 3600))); got != "23:13:20.000" {
		t.Errorf("a clock shows %s", got)
	}
}

func TestCompareOrdersByMeaningAndNullLast(t *testing.T) {
	ordered := [][]Value{
		{Uint(2), Uint(10), {}},
		{Float(-1), Float(0.5), Float(10), {}},
		{String("a"), String("b"), {}},
		{Addr([]byte{9, 0, 0, 1}), Addr([]byte{10, 0, 0, 1}), Addr(make([]byte, 16)), {}},
		{Time(1), Time(2), {}},
	}
	for _, vs := range ordered {
		for i := range vs {
			for j := range vs {
				if got := vs[i].Compare(vs[j]); got != compareInt(i, j) {
					t.Errorf("%v against %v is %d", vs[i], vs[j], got)
				}
			}
		}
	}
	phase := KindByName("flow").Column("phase")
	at := func(p Phase) *Event { return &Event{Kind: &Event_Flow{Flow: &Flow{Phase: p}}} }
	if phase.Compare(at(Phase_PHASE_NEW), at(Phase_PHASE_CLOSED)) >= 0 ||
		phase.Compare(at(Phase_PHASE_CLOSED), at(0)) >= 0 {
		t.Error("phases are not in their order")
	}
}

func compareInt(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestLookup(t *testing.T) {
	flow := KindByName("flow")
	for _, name := range []string{"src.pod", ".src.pod", "{.src.pod}"} {
		if c, err := Lookup(name, flow); err != nil || c.Name != "src.pod" {
			t.Errorf("%s finds %v, %v", name, c, err)
		}
	}
	for name, nearest := range map[string]string{
		"src.pdo": "src.pod", "BytesSent": "bytesSent", "bytes_sent": "bytesSent", "retransmit": "retransmits",
		"comm":  "src.comm",
		"xyzzy": "", "": "",
	} {
		_, err := Lookup(name, flow)
		var e *UnknownColumnError
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", name, err)
		}
		if e.Nearest != nearest || !slices.Contains(e.Known, "dst.srttMicros") {
			t.Errorf("%q is taken for %q, want %q", name, e.Nearest, nearest)
		}
	}
}

func TestJSONNestsAndEscapes(t *testing.T) {
	ev := &Event{Time: 1, Pod: "a\"\\\n\x1b\u202e\U000e0041日\xff", Kind: &Event_Flow{Flow: &Flow{
		Src: &Endpoint{Address: []byte{1, 2, 3, 4}, Port: 5},
	}}}
	line := AppendJSON(nil, ev)
	if bytes.ContainsAny(line, "\n\x1b") || bytes.Contains(line, []byte("\u202e")) {
		t.Errorf("%q is not harmless", line)
	}
	var got struct {
		Kind, Pod string
		Src       struct {
			Address string
			Port    int
		}
		BytesSent *int
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != "flow" || got.Pod != "a\"\\\n\x1b\u202e\U000e0041日\ufffd" || got.Src.Address != "1.2.3.4" ||
		got.Src.Port != 5 || got.BytesSent != nil {
		t.Errorf("got %+v", got)
	}
}

// joined is a flow with both ends observed, as most lines of trace network are.
func joined() *Event {
	counters := func() *Counters {
		return &Counters{BytesSent: 1 << 20, BytesReceived: 1 << 30, PacketsSent: 700, PacketsReceived: 70_000,
			Retransmits: proto.Uint64(1), SrttMicros: proto.Uint32(300)}
	}
	ev := flow(counters(), counters())
	ev.Time, ev.Node, ev.Namespace, ev.Pod = 1_764_000_000_123_456_789, "node-1", "demo", "client-6c7f9d5b8-x2x9z"
	ev.Container, ev.Workload, ev.PodUid = "client", "deploy/client", "5ecc7d4e-9d5e-4a8c-8a9e-b1f0f4c2a111"
	f := ev.GetFlow()
	f.Id, f.Protocol, f.Phase, f.State = "9f86d081884c7d65", Protocol_PROTOCOL_TCP, Phase_PHASE_UPDATE,
		TCPState_TCP_STATE_ESTABLISHED
	f.Observed, f.StartTime, f.LastTime = Side_SIDE_SRC, ev.Time-5e9, ev.Time-1e6
	f.Src = &Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40_000, Pid: 4711, Comm: "curl", Namespace: ev.Namespace,
		Pod: ev.Pod, Container: ev.Container, Workload: ev.Workload, Node: ev.Node, PodUid: ev.PodUid}
	f.Dst = &Endpoint{Address: []byte{10, 0, 1, 2}, Port: 8080, Pid: 815, Comm: "nginx", Namespace: ev.Namespace,
		Pod: "web-57fdc49b4b-bxcpd", Container: "web", Workload: "deploy/web", Service: "web",
		ServiceNamespace: ev.Namespace, ServiceAddress: []byte{10, 96, 17, 4}, ServicePort: 80, Node: "node-2"}
	return ev
}

func BenchmarkAppendJSON(b *testing.B) {
	ev := joined()
	buf := AppendJSON(nil, ev)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendJSON(buf[:0], ev)
	}
	if n := testing.AllocsPerRun(100, func() { buf = AppendJSON(buf[:0], ev) }); n != 0 {
		b.Errorf("%v allocations an event, want none", n)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add("web", []byte{1, 2, 3, 4}, uint64(1), int32(1))
	f.Add("\xff\u202e", make([]byte, 16), uint64(1<<63), int32(-1))
	f.Fuzz(func(t *testing.T, s string, addr []byte, n uint64, e int32) {
		ev := flow(&Counters{BytesSent: n}, nil)
		ev.Pod, ev.Time = s, n
		ev.GetFlow().Protocol, ev.GetFlow().Src = Protocol(e), &Endpoint{Address: addr, Comm: s, Port: uint32(n)}
		line := AppendJSON(nil, ev)
		var got struct {
			Pod       *string
			BytesSent json.Number
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if want := string([]rune(s)); s != "" && *got.Pod != want { // invalid bytes become U+FFFD one by one
			t.Errorf("%q is read back as %q", s, *got.Pod)
		}
		if got.BytesSent.String() != Uint(n).String() {
			t.Errorf("%d is read back as %s", n, got.BytesSent)
		}
		for i := range KindOf(ev).Columns {
			KindOf(ev).Columns[i].AppendCell(nil, ev, &View{})
		}
	})
}

// What a driver does not tell is null and n/a everywhere, and never a number.
func TestGpu_UnknownShowsNoNumber(t *testing.T) {
	for _, g := range []*Gpu{
		{Type: GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &GpuDevice{Uuid: "GPU-0"}},
		{Type: GpuEventType_GPU_EVENT_TYPE_DEVICE, Memory: &GpuMemory{}, Activity: &GpuActivity{},
			Health: &GpuHealth{}},
		{Type: GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: &GpuDevice{Uuid: "GPU-0"}, Proc: &GpuProcess{}},
	} {
		ev := &Event{Node: "node", Kind: &Event_Gpu{Gpu: g}}
		kind := KindOf(ev)
		for i := range kind.Columns {
			c := &kind.Columns[i]
			if c.Name == "schemaVersion" {
				continue
			}
			if c.Get != nil {
				if v := c.Get(ev); v.kind != Null && v.kind != StringValue {
					t.Errorf("%s is %s of %v", c.Name, v, g)
				}
			}
			if c.Show != nil {
				if cell := string(c.Show(nil, ev, &View{})); strings.ContainsAny(cell, "0123456789") {
					t.Errorf("%s shows %q of %v", c.Name, cell, g)
				}
			}
		}
	}
}
