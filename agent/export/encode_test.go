package export

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
)

// decodeRequest decodes the records of an encoder by OpenTelemetry's own code.
func decodeRequest(t testing.TB, e *encoder) []*logspb.LogRecord {
	t.Helper()
	var data logspb.LogsData
	if err := proto.Unmarshal(e.request(), &data); err != nil {
		t.Fatal(err)
	}
	if n := len(data.GetResourceLogs()); n != 1 {
		t.Fatalf("%d resources", n)
	}
	r := data.GetResourceLogs()[0]
	if len(data.ProtoReflect().GetUnknown())+len(r.ProtoReflect().GetUnknown()) > 0 {
		t.Fatal("unknown fields")
	}
	if s := r.GetScopeLogs()[0].GetScope(); s.GetName() != "orb8" || s.GetVersion() != "v1" {
		t.Errorf("scope %v", s)
	}
	return r.GetScopeLogs()[0].GetLogRecords()
}

// TestEncoder_EveryKind encodes events of all members of the oneof, and compares each attribute with its column.
func TestEncoder_EveryKind(t *testing.T) {
	kinds := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		f := kinds.Get(i)
		k := event.KindByName(f.JSONName())
		if k.Row {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			values := 0
			for seed := range 50 {
				in := []byte{byte(i), 1, byte(seed), 0}
				if seed >= 25 { // with fields at their limits
					in[3] = 7
					r := rand.New(rand.NewPCG(uint64(i), uint64(seed)))
					for range 21 {
						in = append(in, byte(r.UintN(256)))
					}
				}
				for _, ev := range eventtest.Events(in, time.Unix(1764000000, 0)) {
					if event.KindOf(ev) == k { // a change may remove the kind
						values += compareRecord(t, k, ev)
					}
				}
			}
			if values < 100 {
				t.Errorf("%d attributes were compared", values)
			}
		})
	}
}

// compareRecord compares the record of an event with its columns, and returns the number of compared attributes.
func compareRecord(t *testing.T, k *event.Kind, ev *event.Event) (compared int) {
	t.Helper()
	e := newEncoder("node-1", "v1", nil)
	if !e.add(encoded(t, ev), 7) {
		t.Fatal("refused")
	}
	r := decodeRequest(t, e)[0]
	word := strings.TrimPrefix(otlp.EventName(k.Name), otlp.Prefix)
	if r.GetEventName() != otlp.EventName(k.Name) || r.GetTimeUnixNano() != ev.GetTime() ||
		r.GetObservedTimeUnixNano() != 7 || !strings.HasPrefix(r.GetBody().GetStringValue(), word) {
		t.Errorf("%s %d %d %q", r.GetEventName(), r.GetTimeUnixNano(), r.GetObservedTimeUnixNano(),
			r.GetBody().GetStringValue())
	}
	if f := ev.GetFlow(); f != nil && f.GetId() == "" {
		f.Id = event.FlowID(f)
	}
	got := attributes(r)
	for _, a := range otlp.AttributesOf(k) {
		v := a.Get(ev)
		have, found := got[a.Name]
		delete(got, a.Name)
		if found == v.IsNull() {
			t.Fatalf("%s: %v, want %v", a.Name, have, v)
		}
		if v.IsNull() {
			continue
		}
		compared++
		var want any
		switch v.Kind() {
		case event.UintValue:
			want = min(v.Uint(), 1<<63-1)
		case event.IntValue:
			want = uint64(v.Int())
		case event.FloatValue:
			want = v.Float()
		case event.BoolValue:
			want = v.Bool()
		default:
			want = string(v.Append(nil))
		}
		if have != want {
			t.Errorf("%s: %v (%T), want %v (%T)", a.Name, have, have, want, want)
		}
	}
	for _, name := range []string{otlp.PodUID, otlp.Workload, otlp.Network} {
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("more attributes: %v", got)
	}
	return compared
}

func TestFieldNumbers(t *testing.T) {
	d := (&event.Event{}).ProtoReflect().Descriptor()
	kinds := d.Oneofs().ByName("kind").Fields()
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if is := f.ContainingOneof() != nil; is != (f.Number() >= firstKind) {
			t.Errorf("field %s has number %d", f.Name(), f.Number())
		}
		if f.Number() >= protowire.Number(len(modes{})) {
			t.Errorf("field %s has number %d, want less than %d", f.Name(), f.Number(), len(modes{}))
		}
	}
	flow := kinds.ByName("flow").Message()
	end := flow.Fields().ByName("src").Message()
	for name, c := range map[string][2]protowire.Number{
		"flow":     {kinds.ByName("flow").Number(), fieldFlow},
		"protocol": {flow.Fields().ByName("protocol").Number(), flowProtocol},
		"phase":    {flow.Fields().ByName("phase").Number(), flowPhase},
		"src":      {flow.Fields().ByName("src").Number(), flowSrc},
		"dst":      {flow.Fields().ByName("dst").Number(), flowDst},
		"observed": {flow.Fields().ByName("observed").Number(), flowObserved},
		"start":    {flow.Fields().ByName("start_time").Number(), flowStart},
		"cookie":   {flow.Fields().ByName("socket_cookie").Number(), flowCookie},
		"address":  {end.Fields().ByName("address").Number(), endpointAddress},
		"port":     {end.Fields().ByName("port").Number(), endpointPort},
	} {
		if c[0] != c[1] {
			t.Errorf("%s has number %d, want %d", name, c[0], c[1])
		}
	}
	if got := len(idFields()); got < 4 || idFields()[fieldFlow] == 0 {
		t.Errorf("%d kinds have an id", got)
	}
}

func TestEncoder_Flow(t *testing.T) {
	e := newEncoder("node-1", "v1", nil)
	e.add(flow(t, event.Phase_PHASE_CLOSED, 1, 10), 7)
	r := decodeRequest(t, e)[0]
	a := attributes(r)
	for name, want := range map[string]any{
		"k8s.namespace.name": "shop", "k8s.pod.name": "web-0", "k8s.container.name": "app", "k8s.pod.uid": "uid",
		"orb8.workload": "deploy/web", "source.address": "10.0.0.1", "source.port": uint64(40000),
		"destination.address": "10.0.0.2", "destination.port": uint64(5432), "network.transport": "tcp",
		"network.type": "ipv4", "orb8.bytes_sent": uint64(10), "orb8.src.pid": uint64(4242), "orb8.phase": "closed",
		"orb8.start_time": "2025-11-24T16:00:00.000000000Z", "orb8.observed": "src",
	} {
		if a[name] != want {
			t.Errorf("%s: %v, want %v", name, a[name], want)
		}
	}
	if id, _ := a["orb8.id"].(string); len(id) != 16 {
		t.Errorf("id %q", id)
	}
	if body := r.GetBody().GetStringValue(); !strings.HasPrefix(body,
		"flow closed tcp shop/web-0 10.0.0.2:5432 10 20 250µs 1 curl") {
		t.Errorf("body %q", body)
	}
}

func TestEncoder_Severity(t *testing.T) {
	for _, c := range []struct {
		ev   *event.Event
		want uint64
	}{
		{&event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Count: 1}}}, severityWarn},
		{&event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
			State: event.NodeState_NODE_STATE_FAILED}}}, severityError},
		{&event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
			State: event.NodeState_NODE_STATE_STREAMING}}}, severityInfo},
		{&event.Event{Kind: &event.Event_Drop{Drop: &event.Drop{}}}, severityInfo},
	} {
		e := newEncoder("node-1", "v1", nil)
		e.add(encoded(t, c.ev), 7)
		if got := decodeRequest(t, e)[0].GetSeverityNumber(); uint64(got) != c.want {
			t.Errorf("%v: %v", c.ev, got)
		}
	}
}

func TestEncoder_RefusesWhatIsNoEvent(t *testing.T) {
	e := newEncoder("node-1", "v1", nil)
	row := encoded(t, &event.Event{Kind: &event.Event_FlowSum{FlowSum: &event.FlowSum{}}})
	for name, b := range map[string][]byte{
		"nothing": nil, "garbage": {0xff, 0xff}, "no kind": encoded(t, &event.Event{Time: 1}), "a row": row,
		"invalid text": request.AppendString(nil, 19, "\x2a\x01\xff"),
	} {
		if e.add(b, 7) || len(decodeRequest(t, e)) != 0 {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzEncoder(f *testing.F) {
	f.Add(dns(f, 1))
	f.Add(flow(f, event.Phase_PHASE_CLOSED, 1, 10))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHeld(1 << 20)
		if kind, message := kindField(b); kind != 0 {
			if key, _, ok := h.keyOf(kind, message); ok {
				h.put(key, b, 1)
			}
		}
		e := newEncoder("node-1", "v1", nil)
		if e.add(b, 7) {
			if n := len(decodeRequest(t, e)); n != 1 {
				t.Errorf("%d records", n)
			}
		}
	})
}

func TestEncoder_Request(t *testing.T) {
	// Lengths of one, two, three and four bytes.
	for _, n := range []int{0, 1, 100, 10000} {
		e := newEncoder("node-1", "v1", map[string]string{"a": strings.Repeat("x", 100)})
		for i := range n {
			e.add(dns(t, i), 7)
		}
		if got := len(decodeRequest(t, e)); got != n {
			t.Errorf("%d records, want %d", got, n)
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	for name, ev := range map[string][]byte{"flow": flow(b, event.Phase_PHASE_CLOSED, 1, 10), "dns": dns(b, 1)} {
		b.Run(name, func(b *testing.B) {
			e := newEncoder("node-1", "v1", nil)
			b.ReportAllocs()
			n, bytes := 0, 0
			for b.Loop() {
				if n++; n%500 == 0 {
					bytes = e.size()
					e.reset()
				}
				e.add(ev, 7)
			}
			b.ReportMetric(float64(bytes)/499, "B/record")
			b.ReportMetric(float64(len(ev)), "B/event")
		})
	}
}

func BenchmarkObserve(b *testing.B) {
	var flows, queries [][]byte
	for i := range 250 {
		flows = append(flows, flow(b, event.Phase_PHASE_UPDATE, i, 10))
		queries = append(queries, dns(b, i))
	}
	for _, c := range []struct {
		name   string
		config *Config
		batch  [][]byte
	}{
		{"off", nil, flows},
		{"not selected", newConfig(b, "a:1", func(c *Config) { c.Kinds = []string{"tcp"} }), flows},
		{"held flows", newConfig(b, "a:1", nil), flows},
		{"queued", newConfig(b, "a:1", nil), queries},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := New(Options{})
			e.Apply(c.config)
			b.ReportAllocs()
			for b.Loop() {
				e.Observe(c.batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/250, "ns/event")
		})
	}
}
