package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/server/access"
)

// testPod is a pod of a cluster with two nodes.
type testPod struct {
	namespace, name, node string
	address               []byte
}

var testPods = []testPod{
	{"shop", "web", "node-1", []byte{10, 0, 1, 1}}, {"shop", "cart", "node-2", []byte{10, 0, 2, 1}},
	{"bank", "ledger", "node-2", []byte{10, 0, 2, 2}}, {"bank", "teller", "node-1", []byte{10, 0, 1, 2}},
}

// outside is an end that is no pod.
var outside = testPod{address: []byte{192, 0, 2, 7}}

// api is an API server with testPods. Everybody may see the namespaces; "*": all.
func api(namespaces ...string) *fake.Clientset {
	var objects []runtime.Object
	for _, p := range testPods {
		ip := fmt.Sprintf("%d.%d.%d.%d", p.address[0], p.address[1], p.address[2], p.address[3])
		objects = append(objects, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: types.UID("uid-" + p.name)},
			Spec:       corev1.PodSpec{NodeName: p.node},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
		})
	}
	client := fake.NewClientset(objects...)
	client.PrependReactor("create", "subjectaccessreviews",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
			ns := review.Spec.ResourceAttributes.Namespace
			review.Status.Allowed = slices.Contains(namespaces, "*") || ns != "" && slices.Contains(namespaces, ns)
			return true, review, nil
		})
	return client
}

// accessDoor reviews what jane may see as a server does.
type accessDoor struct{ *access.Access }

func (accessDoor) Identify(context.Context) (*orbit.User, error) {
	return &orbit.User{Name: "jane"}, nil
}

func (d accessDoor) Open(ctx context.Context, u *orbit.User, kinds, namespaces []string) (View, error) {
	return d.Access.Open(ctx, u, kinds, namespaces)
}

// traffic makes the histories of two agents: random flows between pods and with outside, each end with several events.
func traffic(r *rand.Rand, flows int) []*fakeAgent {
	agents := []*fakeAgent{{node: "node-1"}, {node: "node-2"}}
	for i := range flows {
		src := testPods[r.IntN(len(testPods))]
		dst := append(slices.Clone(testPods), outside)[r.IntN(len(testPods)+1)]
		protocol := event.Protocol_PROTOCOL_TCP
		if r.IntN(3) == 0 {
			protocol = event.Protocol_PROTOCOL_UDP
		}
		began, isn := now+uint64(r.IntN(20e9)), 2*uint32(i)
		flow := &event.Flow{Protocol: protocol, RoleKnown: true, StartTime: began,
			Src: &event.Endpoint{Address: src.address, Port: uint32(1024 + i)},
			Dst: &event.Endpoint{Address: dst.address, Port: uint32(80 + i%3)}}
		if protocol == event.Protocol_PROTOCOL_TCP {
			flow.SrcIsn, flow.DstIsn, flow.IsnValid = isn, isn+1, true
			flow.State = event.TCPState_TCP_STATE_ESTABLISHED
		}
		for side, own := range []testPod{src, dst} {
			at := slices.IndexFunc(agents, func(a *fakeAgent) bool { return a.node == own.node })
			if at < 0 {
				continue
			}
			flow.SocketCookie, flow.Observed = uint64(2*i+side+1), event.Side(side+1)
			agents[at].history = append(agents[at].history, reports(r, own, flow, i%3 > 0)...)
		}
	}
	for _, a := range agents {
		slices.SortStableFunc(a.history, func(x, y *event.Event) int { return int(x.GetTime()) - int(y.GetTime()) })
	}
	return agents
}

// reports are the events of one end of a flow.
func reports(r *rand.Rand, own testPod, flow *event.Flow, closed bool) (all []*event.Event) {
	var c event.Counters
	steps := 1 + r.IntN(4)
	for step := range steps {
		// What the two ends count is never the same.
		c.BytesSent, c.BytesReceived = c.BytesSent+r.Uint64N(1e6), c.BytesReceived+r.Uint64N(1e6)
		c.PacketsSent, c.PacketsReceived = c.PacketsSent+r.Uint64N(10), c.PacketsReceived+1
		if flow.GetIsnValid() {
			n := c.GetRetransmits() + r.Uint64N(3)
			c.Retransmits = &n
		}
		f := proto.CloneOf(flow)
		f.Phase, f.LastTime = event.Phase_PHASE_UPDATE, flow.GetStartTime()+uint64(step)*1e9
		if closed && step == steps-1 {
			f.Phase = event.Phase_PHASE_CLOSED
		}
		if f.GetObserved() == event.Side_SIDE_SRC {
			f.SrcCounters, f.Src.Comm = proto.CloneOf(&c), "client"
		} else {
			f.DstCounters, f.Dst.Comm = proto.CloneOf(&c), "server"
		}
		all = append(all, &event.Event{Time: f.GetLastTime(), Namespace: own.namespace, Pod: own.name,
			PodUid: "uid-" + own.name, Kind: &event.Event_Flow{Flow: f}})
	}
	return all
}

// flows asks for flows, or for sums of them.
func (h *harness) flows(s *orbit.Selection, last uint32, by ...string) (*orbit.Answer, error) {
	h.Helper()
	stream, err := h.client.QueryFlows(h.Context(), &orbit.QueryFlowsRequest{AggregateBy: by,
		Query: &orbit.QueryRequest{Protocol: orbit.Protocol, Selection: s, Last: last}})
	if err != nil {
		h.Fatal(err)
	}
	all := &orbit.Answer{}
	for {
		a, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
		all.Events = append(all.Events, a.GetEvents()...)
		if all.Coverage == nil {
			all.AggregatedBy = a.GetAggregatedBy()
		}
		all.Coverage = a.GetCoverage()
	}
}

// tally is a sum by the keys of rows, in words.
type tally map[string]map[string]uint64

func (t tally) add(ev *event.Event, by []string, more map[string]uint64) {
	kind := event.KindOf(ev)
	var key []string
	for _, name := range by {
		value := kind.Column(name).Get(ev).String()
		if end, _, ok := strings.Cut(name, "."); ok && value == event.NotAvailable &&
			!kind.Column(end+".redacted").Get(ev).IsNull() {
			value = "withheld"
		}
		key = append(key, value)
	}
	sums := t[strings.Join(key, " ")]
	if sums == nil {
		sums = map[string]uint64{}
		t[strings.Join(key, " ")] = sums
	}
	for _, c := range summed {
		if v := kind.Column(c.column.Name).Get(ev); !v.IsNull() {
			sums[c.column.Name] += v.Uint()
		}
	}
	for name, n := range more {
		sums[name] += n
	}
}

func tallyFlows(events []*event.Event, by []string) tally {
	t := tally{}
	for _, ev := range events {
		if f := ev.GetFlow(); f != nil {
			open := uint64(0)
			if f.GetPhase() != event.Phase_PHASE_CLOSED {
				open = 1
			}
			t.add(ev, by, map[string]uint64{"flows": 1, "open": open})
		}
	}
	return t
}

func tallySums(events []*event.Event, by []string) tally {
	t := tally{}
	for _, ev := range events {
		if s := ev.GetFlowSum(); s != nil {
			t.add(ev, by, map[string]uint64{"flows": s.GetFlows(), "open": s.GetOpen()})
		}
	}
	return t
}

func (t tally) equal(u tally) bool {
	return maps.EqualFunc(t, u, maps.Equal[map[string]uint64, map[string]uint64])
}

// TestSums_EqualTheFlows compares sums with those of the flows of the same query, for random traffic and fields.
func TestSums_EqualTheFlows(t *testing.T) {
	t.Parallel()
	fields := event.GroupFields()
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 14))
		namespaces := [][]string{{"*"}, {"shop"}, {"bank"}}[seed%3]
		client := api(namespaces...)
		h := newHarnessOn(t, client, accessDoor{access.New(client, access.Options{})}, traffic(r, 200)...)
		for _, s := range []*orbit.Selection{{}, {Namespaces: []string{"bank", "shop"}, Filter: "bytesSent < 900000"}} {
			last := uint32(r.IntN(2) * 50)
			flows, err := h.flows(s, last)
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				by := slices.Clone(fields)
				r.Shuffle(len(by), func(i, j int) { by[i], by[j] = by[j], by[i] })
				by = by[:1+r.IntN(4)]
				sums, err := h.flows(s, last, by...)
				if err != nil {
					t.Fatal(err)
				}
				want, got := tallyFlows(flows.GetEvents(), by), tallySums(sums.GetEvents(), by)
				if len(want) == 0 || !got.equal(want) {
					t.Errorf("seed %d, %v, %v, last %d, by %v:\ngot  %v\nwant %v", seed, namespaces, s, last, by, got,
						want)
				}
				if !slices.Equal(sums.GetAggregatedBy(), by) {
					t.Errorf("the answer is by %v, want %v", sums.GetAggregatedBy(), by)
				}
			}
		}
	}
}

func TestSums_NameOnlyWhatTheCallerMaySee(t *testing.T) {
	t.Parallel()
	client := api("shop")
	h := newHarnessOn(t, client, accessDoor{access.New(client, access.Options{})},
		traffic(rand.New(rand.NewPCG(1, 1)), 200)...)
	for _, by := range [][]string{
		{"src.namespace", "dst.namespace"}, {"src.pod", "dst.pod", "src.node", "dst.node"}, {"src.comm"}, {"dst.comm"},
		{"node", "namespace", "pod"},
	} {
		sums, err := h.flows(&orbit.Selection{}, 0, by...)
		if err != nil {
			t.Fatal(err)
		}
		withheld := false
		for _, ev := range sums.GetEvents() {
			line := string(event.AppendJSON(nil, ev))
			for _, secret := range []string{"bank", "ledger", "teller"} {
				if strings.Contains(line, secret) {
					t.Errorf("by %v: %s", by, line)
				}
			}
			withheld = withheld || strings.Contains(line, `"redacted":true`)
		}
		if withheld == (by[0] == "node") {
			t.Errorf("by %v: a row is marked as redacted: %v", by, withheld)
		}
	}
}

// flowOf is a flow in a state.
func flowOf(id, pod string, phase event.Phase, bytes uint64) *event.Event {
	return &event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{Id: id, Phase: phase, Src: &event.Endpoint{Pod: pod},
		SrcCounters: &event.Counters{BytesSent: bytes}}}}
}

func newTestSums(t *testing.T, fields ...string) *sums {
	t.Helper()
	by, err := event.NewGrouping(fields)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := newMemory(0).open("jane", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(memory.close)
	return newSums(by, 1, memory)
}

// words are rows as text: the pod, open and all flows, and the bytes that were sent.
func words(rows []*event.Event) (all []string) {
	for _, ev := range rows {
		sum, name := ev.GetFlowSum(), ev.GetFlowSum().GetSrc().GetPod()
		if sum.GetOthers() {
			name = event.Others
		}
		all = append(all, fmt.Sprintf("%s %d/%d %dB", name, sum.GetOpen(), sum.GetFlows(), sum.GetBytesSent()))
		if sum.Retransmits != nil || sum.BytesReceived == nil || ev.GetTime() != 1 {
			all = append(all, fmt.Sprint(ev))
		}
	}
	return all
}

func TestSums_CountTheLastStates(t *testing.T) {
	t.Parallel()
	const (
		update = event.Phase_PHASE_UPDATE
		closed = event.Phase_PHASE_CLOSED
	)
	many := func(n int, state event.Phase) (all []*event.Event) {
		for i := range n {
			all = append(all, flowOf(fmt.Sprint(i), fmt.Sprint("pod-", i), state, uint64(n-i)))
		}
		return all
	}
	for name, c := range map[string]struct {
		flows  []*event.Event
		remove string
		groups int
		want   []string
	}{
		"nothing": {},
		"a later state": {flows: []*event.Event{flowOf("1", "a", update, 5), flowOf("1", "a", closed, 7)},
			want: []string{"a 0/1 7B"}},
		"a flow changes its group": {flows: []*event.Event{flowOf("1", "", update, 5), flowOf("1", "a", update, 7)},
			want: []string{"a 1/1 7B"}},
		"the largest is first": {flows: []*event.Event{flowOf("1", "a", update, 5), flowOf("2", "b", update, 7)},
			want: []string{"b 1/1 7B", "a 1/1 5B"}},
		"no longer selected": {flows: []*event.Event{flowOf("1", "a", update, 5), flowOf("2", "b", update, 7)},
			remove: "2", want: []string{"a 1/1 5B"}},
		"too many groups": {flows: many(5, update), groups: 2, want: []string{
			"pod-0 1/1 5B", "pod-1 1/1 4B",
			"others 3/3 6B"}},
		"one of the others goes": {flows: many(3, update), groups: 1, remove: "2", want: []string{
			"pod-0 1/1 3B", "others 1/1 2B"}},
		"a null key beside others": {flows: append([]*event.Event{flowOf("x", "", update, 9)}, many(2, update)...),
			groups: 1, remove: "1", want: []string{" 1/1 9B",
				"others 1/1 2B"}},
		"counters beyond all numbers": {flows: []*event.Event{flowOf("1", "a", update, math.MaxUint64),
			flowOf("2", "a", update, 7)}, want: []string{"a 2/2 18446744073709551615B"}},
	} {
		s := newTestSums(t, "src.pod")
		if c.groups > 0 {
			s.maxGroups = c.groups
		}
		for _, ev := range c.flows {
			if err := s.add(ev); err != nil {
				t.Fatal(err)
			}
		}
		s.remove(c.remove)
		if got := words(s.rows()); !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, c.want)
		}
	}
}

func TestSums_HoldFewFlows(t *testing.T) {
	t.Parallel()
	s := newTestSums(t, "src.pod")
	s.foldAt = 100
	for i := range 10_000 {
		id := fmt.Sprint(i)
		phase := event.Phase_PHASE_CLOSED
		if i%200 == 0 {
			phase = event.Phase_PHASE_UPDATE
		}
		if err := s.add(flowOf(id, "a", phase, 1)); err != nil {
			t.Fatal(err)
		}
		if len(s.flows) > 100 {
			t.Fatalf("%d flows are held", len(s.flows))
		}
	}
	// The open ones end.
	for i := 0; i < 10_000; i += 200 {
		if err := s.add(flowOf(fmt.Sprint(i), "a", event.Phase_PHASE_CLOSED, 3)); err != nil {
			t.Fatal(err)
		}
	}
	if got := words(s.rows()); !slices.Equal(got, []string{"a 0/10000 10100B"}) {
		t.Errorf("got %v", got)
	}
}

func TestSums_MergeResponseTimes(t *testing.T) {
	t.Parallel()
	timed := func(id, pod string, phase event.Phase, longest uint64, histogram ...uint64) *event.Event {
		ev := flowOf(id, pod, phase, 1)
		ev.GetFlow().SrcCounters.Responses = &event.ResponseTimes{Histogram: histogram, MaxMicros: longest}
		return ev
	}
	s := newTestSums(t, "src.pod")
	s.foldAt = 3 // the first two are folded
	at := func(micros, count uint64) uint64 {
		return event.AppendResponses(nil, event.ResponseBucket(micros), count)[0]
	}
	for _, ev := range []*event.Event{
		timed("1", "a", event.Phase_PHASE_UPDATE, 900, at(900, 5)), // not its last state
		timed("1", "a", event.Phase_PHASE_CLOSED, 1000, at(1000, 40)),
		timed("2", "a", event.Phase_PHASE_CLOSED, 50_000, at(1000, 50), at(50_000, 10)),
		flowOf("3", "b", event.Phase_PHASE_UPDATE, 1),
		timed("4", "a", event.Phase_PHASE_UPDATE, 7, at(7, 1)),
	} {
		if err := s.add(ev); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range s.rows() {
		sum := row.GetFlowSum()
		if sum.GetSrc().GetPod() == "b" {
			if sum.Responses != nil || sum.ResponseP50Micros != nil || sum.ResponseMaxMicros != nil {
				t.Errorf("a pod without responses has %v", sum)
			}
			continue
		}
		if n := sum.GetResponses(); n != 101 {
			t.Errorf("%d responses, want 101", n)
		}
		p50, p99 := float64(sum.GetResponseP50Micros()), float64(sum.GetResponseP99Micros())
		if math.Abs(p50-1000) > 46 || math.Abs(p99-50_000) > 2300 || sum.GetResponseMaxMicros() != 50_000 {
			t.Errorf("%v", sum)
		}
	}
	if s.bucketsHeld != 1 {
		t.Errorf("%d buckets are held, want 1", s.bucketsHeld)
	}
}

func TestSums_EndWhereMemoryDoes(t *testing.T) {
	t.Parallel()
	s := newTestSums(t, "src.pod")
	s.share.memory.userLimit = 1 << 20
	for i := range 1 << 20 {
		// None of them ends.
		if err := s.add(flowOf(fmt.Sprint(i), "a", event.Phase_PHASE_UPDATE, 1)); err != nil {
			if status.Code(err) != codes.ResourceExhausted {
				t.Error(err)
			}
			return
		}
	}
	t.Error("a million flows are held in a MiB")
}

func TestQueryFlows_RefusesUnknownFields(t *testing.T) {
	t.Parallel()
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a"})
	for want, by := range map[string][]string{
		`aggregate_by: unknown field "dst.prt", did you mean "dst.port"? known fields: node`: {"dst.prt"},
		`aggregate_by: field "node" is named twice`:                                          {"node", "node"},
	} {
		if _, err := h.flows(&orbit.Selection{}, 0, by...); status.Code(err) != codes.InvalidArgument ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", by, err, want)
		}
	}
}

// TestQueryFlows_FilterTheLastState has a flow that matches only before it has sent more.
func TestQueryFlows_FilterTheLastState(t *testing.T) {
	t.Parallel()
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a", history: []*event.Event{
		flowEvent("web", event.Side_SIDE_SRC, 1, 10, event.Phase_PHASE_UPDATE),
		flowEvent("web", event.Side_SIDE_SRC, 2, 1000, event.Phase_PHASE_UPDATE),
	}})
	for expression, want := range map[string]int{"bytesSent < 100": 0, "bytesSent > 100": 1} {
		for _, by := range [][]string{nil, {"src.port"}} {
			answer, err := h.flows(&orbit.Selection{Filter: expression}, 0, by...)
			if err != nil || len(answer.GetEvents()) != want {
				t.Errorf("%s by %v: %v, %v, want %d events", expression, by, answer.GetEvents(), err, want)
			}
		}
	}
}
