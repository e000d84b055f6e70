package access

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// end is an endpoint in a namespace; "host": a node's; "": an address outside.
func end(ns string, n byte) *event.Endpoint {
	e := &event.Endpoint{Address: []byte{10, 0, 0, n}, Port: uint32(n)}
	if ns == "" {
		return e
	}
	e.Node, e.Pid, e.Comm = "node-"+ns, 4242, "comm-"+ns
	if ns == "host" {
		return e
	}
	e.Namespace, e.Pod, e.PodUid, e.Container, e.Workload = ns, "pod-"+ns, "uid-"+ns, "container-"+ns, "deploy/"+ns
	e.Service, e.ServiceNamespace, e.ServiceAddress, e.ServicePort = "service-"+ns, ns, []byte{10, 1, 0, n}, 80
	e.Host = "host." + ns
	return e
}

// twoEnded makes an event with two ends, observed at one.
func twoEnded(kind, src, dst string, observed event.Side) *event.Event {
	a, b := end(src, 1), end(dst, 2)
	own, ns := a, src
	if observed == event.Side_SIDE_DST {
		own, ns = b, dst
	}
	ev := &event.Event{
		Time: 1, Node: own.Node, Namespace: own.Namespace, Pod: own.Pod, PodUid: own.PodUid,
		Container: own.Container, Workload: own.Workload,
	}
	counters := func(n uint64) *event.Counters { return &event.Counters{BytesSent: n, SrttMicros: new(uint32(n))} }
	switch kind {
	case "flow":
		f := &event.Flow{Id: "id", Src: a, Dst: b, Observed: observed, SrcCounters: counters(1001),
			DstCounters: counters(1002), State: event.TCPState_TCP_STATE_ESTABLISHED, SocketCookie: 77}
		ev.Kind = &event.Event_Flow{Flow: f}
	case "tcp":
		ev.Kind = &event.Event_Tcp{Tcp: &event.Tcp{Src: a, Dst: b, Observed: observed, BytesSent: new(uint64(1003)),
			Outcome: event.TCPOutcome_TCP_OUTCOME_RESET, ResetBy: event.TCPEnd_TCP_END_LOCAL, Error: "error-" + ns,
			ClosedBy: event.TCPEnd_TCP_END_BOTH, Cause: event.TCPCause_TCP_CAUSE_LINGER, ProcessEnded: true}}
	case "dns":
		ev.Kind = &event.Event_Dns{Dns: &event.Dns{Src: a, Dst: b, Observed: observed, Name: "example.com.",
			LatencyMicros: new(uint64(1004)), Attempts: 1}}
	case "drop":
		ev.Kind = &event.Event_Drop{Drop: &event.Drop{Src: a, Dst: b, Observed: observed, Device: "device-" + ns,
			Packets: 5, Reason: "NO_SOCKET"}}
	}
	return ev
}

var endKinds = []string{"flow", "tcp", "dns", "drop"}

func view(t *testing.T) *View {
	t.Helper()
	return open(t, newAPI("flows", "mine", "tcp", "mine", "dns", "mine", "drops", "mine", "gpus", "mine"),
		[]string{"flow", "tcp", "dns", "drop", "gpu"}, []string{"mine"})
}

func TestRedact_TwoEnds(t *testing.T) {
	v := view(t)
	places := []string{"mine", "secret", "host", ""}
	for _, kind := range endKinds {
		for _, src := range places {
			for _, dst := range places {
				for _, side := range []event.Side{event.Side_SIDE_SRC, event.Side_SIDE_DST} {
					name := fmt.Sprintf("%s from %q to %q, observed at %s", kind, src, dst, side.Word())
					if own := map[event.Side]string{1: src, 2: dst}[side]; own == "" {
						continue // nothing observes an address outside
					}
					ev := twoEnded(kind, src, dst, side)
					visible := v.Redact(ev)
					if want := src == "mine" || dst == "mine"; visible != want {
						t.Errorf("%s: visible %v", name, visible)
					}
					if visible {
						verifyRedacted(t, name, ev, src, dst)
					}
				}
			}
		}
	}
}

// verifyRedacted checks an event of which one end or both are in the namespace mine.
func verifyRedacted(t *testing.T, name string, ev *event.Event, src, dst string) {
	t.Helper()
	wire, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"secret", "node-host", "comm-host", "error-host", "device-host"} {
		if bytes.Contains(wire, []byte(secret)) {
			t.Errorf("%s: %q is in it: %v", name, secret, ev)
		}
	}
	if ev.GetNamespace() != "mine" || ev.GetPod() != "pod-mine" || ev.GetNode() != "node-mine" {
		t.Errorf("%s: it is about %s/%s on %s", name, ev.GetNamespace(), ev.GetPod(), ev.GetNode())
	}
	ends := event.EndsOf(ev)
	own := ends.GetSrc()
	if ends.GetObserved() == event.Side_SIDE_DST {
		own = ends.GetDst()
	}
	if own.GetNamespace() != "mine" {
		t.Errorf("%s: the observed end is not the one that it is about", name)
	}
	for i, e := range []*event.Endpoint{ends.GetSrc(), ends.GetDst()} {
		ns := []string{src, dst}[i]
		withheld := ns == "secret" || ns == "host"
		if e.GetRedacted() != withheld || len(e.GetAddress()) != 4 || e.GetPort() != uint32(i+1) {
			t.Errorf("%s: end %d: %v", name, i, e)
		}
		if withheld && (e.GetPid() != 0 || e.GetServicePort() != 0 || e.GetServiceAddress() != nil) {
			t.Errorf("%s: end %d: %v", name, i, e)
		}
		f := ev.GetFlow()
		if f == nil {
			continue
		}
		if counters := []*event.Counters{f.GetSrcCounters(), f.GetDstCounters()}[i]; (counters == nil) != withheld {
			t.Errorf("%s: end %d: counters %v", name, i, counters)
		}
	}
}

func TestRedact_ObservedAtTheHiddenEnd(t *testing.T) {
	v := view(t)
	ev := twoEnded("tcp", "secret", "mine", event.Side_SIDE_SRC)
	if !v.Redact(ev) {
		t.Fatal("not visible")
	}
	got := ev.GetTcp()
	if got.GetObserved() != event.Side_SIDE_DST || got.GetResetBy() != event.TCPEnd_TCP_END_PEER ||
		got.GetClosedBy() != event.TCPEnd_TCP_END_BOTH || got.BytesSent != nil || got.GetProcessEnded() ||
		got.GetCause() != 0 || got.GetOutcome() != event.TCPOutcome_TCP_OUTCOME_RESET {
		t.Errorf("%v", got)
	}
	ev = twoEnded("flow", "secret", "mine", event.Side_SIDE_SRC)
	if !v.Redact(ev) || ev.GetFlow().GetState() != 0 || ev.GetFlow().GetSocketCookie() != 0 ||
		ev.GetFlow().GetDstCounters().GetBytesSent() != 1002 {
		t.Errorf("%v", ev)
	}
}

func TestRedact_ClusterWideSeesAll(t *testing.T) {
	v := open(t, newAPI("flows", "*"), []string{"flow"}, nil)
	for _, src := range []string{"secret", "host", ""} {
		ev := twoEnded("flow", src, "host", event.Side_SIDE_SRC)
		want := proto.CloneOf(ev)
		if !v.Redact(ev) || !proto.Equal(ev, want) {
			t.Errorf("%s: %v", src, ev)
		}
	}
	if v.Redact(twoEnded("dns", "secret", "host", event.Side_SIDE_SRC)) {
		t.Error("a kind that was not asked for is visible")
	}
}

func TestRedact_ServiceOfAHiddenNamespace(t *testing.T) {
	v := view(t)
	ev := twoEnded("flow", "mine", "", event.Side_SIDE_SRC)
	dst := ev.GetFlow().GetDst()
	dst.Service, dst.ServiceNamespace, dst.ServiceNote = "service-secret", "secret", 2
	if !v.Redact(ev) || dst.GetService() != "" || dst.GetServiceNamespace() != "" || !dst.GetRedacted() {
		t.Errorf("%v", dst)
	}
	// A Service in one's own namespace does not make others' flows to it visible: anyone can make a Service of any
	// address.
	ev = twoEnded("flow", "secret", "", event.Side_SIDE_SRC)
	ev.GetFlow().GetDst().Service, ev.GetFlow().GetDst().ServiceNamespace = "web", "mine"
	if v.Redact(ev) {
		t.Error("a Service makes a flow visible")
	}
}

func TestRedact_OtherKinds(t *testing.T) {
	v := view(t)
	names := func(ns string, kind *event.Event) *event.Event {
		kind.Namespace, kind.Node = ns, "n1"
		if ns != "" {
			kind.Pod, kind.PodUid, kind.Container, kind.Workload = "pod-"+ns, "uid-"+ns, "c-"+ns, "deploy/"+ns
		}
		return kind
	}
	gpu := func() *event.Event {
		return &event.Event{Kind: &event.Event_Gpu{Gpu: &event.Gpu{UsedBy: "mine/a/b,secret/x/y",
			AllocatedTo: "secret/x/y"}}}
	}
	lost := func(cause string) *event.Event {
		return &event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Count: 7,
			CausedBy: &event.PodRef{Namespace: cause, Pod: "pod-" + cause}}}}
	}
	status := func() *event.Event {
		return &event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{Message: "of secret/x",
			State: event.NodeState_NODE_STATE_STREAMING}}}
	}
	for name, test := range map[string]struct {
		ev      *event.Event
		visible bool
	}{
		"a GPU process":           {names("mine", gpu()), true},
		"another's GPU process":   {names("secret", gpu()), false},
		"a node's GPU":            {names("", gpu()), false},
		"a loss":                  {names("mine", lost("mine")), true},
		"another's loss":          {names("secret", lost("mine")), true},
		"a loss caused by others": {names("mine", lost("secret")), true},
		"a loss of a node":        {names("", lost("secret")), true},
		"a node's status":         {names("", status()), true},
		"an exec": {names("mine", &event.Event{Kind: &event.Event_Exec{Exec: &event.Exec{}}}),
			false},
		"a row":   {names("mine", &event.Event{Kind: &event.Event_NetworkTop{NetworkTop: &event.NetworkTop{}}}), false},
		"nothing": {names("mine", &event.Event{}), false},
	} {
		if visible := v.Redact(test.ev); visible != test.visible {
			t.Errorf("%s: visible %v", name, visible)
		} else if visible {
			wire, err := proto.Marshal(test.ev)
			if err != nil || bytes.Contains(wire, []byte("secret")) {
				t.Errorf("%s: %v, %v", name, test.ev, err)
			}
			if l := test.ev.GetLost(); l != nil && l.GetCount() != 7 {
				t.Errorf("%s: the count is withheld", name)
			}
		}
	}
}

// TestRedact_HoldsNoStringOfAHiddenEnd fills all fields of random events: the strings of each end hold the end's
// namespace, those of the event that of the observed end.
func TestRedact_HoldsNoStringOfAHiddenEnd(t *testing.T) {
	v := view(t)
	r := rand.New(rand.NewPCG(1, 2))
	places := []string{"mine", "secret", ""}
	for range 5000 {
		kind := endKinds[r.IntN(len(endKinds))]
		src, dst := places[r.IntN(3)], places[r.IntN(3)]
		side := event.Side(r.IntN(3))
		ev := twoEnded(kind, src, dst, side)
		// Unknown fields of a newer agent.
		unknown := protoreflect.RawFields(append([]byte{0xa2, 0x3f, 6}, "secret"...))
		ev.ProtoReflect().SetUnknown(unknown)
		ends := event.EndsOf(ev)
		ends.(proto.Message).ProtoReflect().SetUnknown(unknown)
		for i, e := range []*event.Endpoint{ends.GetSrc(), ends.GetDst()} {
			if ns := []string{src, dst}[i]; ns == "secret" {
				fill(e.ProtoReflect(), r)
				e.Namespace, e.Address = ns, []byte{10, 0, 0, 1}
			}
		}
		if !v.Redact(ev) || src == dst || src != "secret" && dst != "secret" {
			continue
		}
		if wire, err := proto.Marshal(ev); err != nil || bytes.Contains(wire, []byte("secret")) {
			t.Fatalf("%s from %s to %s, observed at %s: %v, %v", kind, src, dst, side.Word(), ev, err)
		}
	}
}

// fill sets every scalar field of a message, strings to "secret".
func fill(m protoreflect.Message, r *rand.Rand) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.IntN(4) == 0 {
			continue
		}
		switch f.Kind() {
		case protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString("secret"))
		case protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte("secret")))
		case protoreflect.Uint32Kind:
			m.Set(f, protoreflect.ValueOfUint32(r.Uint32()))
		case protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(r.IntN(2) == 0))
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	v := &View{wanted: sets["flow"], namespaces: map[string]grant{"mine": {visible: sets["flow"]}, "secret": {}}}
	ev := twoEnded("flow", "mine", "secret", event.Side_SIDE_SRC)
	for b.Loop() {
		v.Redact(ev)
	}
}
