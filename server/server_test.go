package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/clientset"
)

// fakeDoor lets everybody in as the user of its name. They see the namespaces.
type fakeDoor struct {
	namespaces []string
	refuse     error
	revoke     chan error
}

func (d *fakeDoor) Identify(context.Context) (*orbit.User, error) {
	if d.refuse != nil {
		return nil, d.refuse
	}
	return &orbit.User{Name: "jane"}, nil
}

func (d *fakeDoor) Open(context.Context, *orbit.User, []string, []string) (View, error) {
	return d, nil
}

func (d *fakeDoor) MaySee(_, namespace string) bool {
	return d.namespaces == nil || slices.Contains(d.namespaces, namespace)
}

func (d *fakeDoor) All(string) bool { return d.namespaces == nil }

func (d *fakeDoor) Redact(ev *event.Event) bool {
	return ev.GetLost() != nil || ev.GetNodeStatus() != nil || d.MaySee("", ev.GetNamespace())
}

func (d *fakeDoor) Watch(ctx context.Context) error {
	select {
	case err := <-d.revoke:
		return err
	case <-ctx.Done():
		return nil
	}
}

// fakeAgent is an agent with a history, and with a live stream that tests feed.
type fakeAgent struct {
	orbit.UnimplementedAgentServer
	t       *testing.T
	node    string
	ahead   time.Duration // of its clock
	newer   uint32        // its protocol than the server's
	reach   uint64
	history []*event.Event // oldest first
	live    chan *orbit.AgentBatch
	mute    bool // it answers no query

	mu      sync.Mutex
	queries []*orbit.AgentQueryRequest
	streams []*orbit.AgentStreamRequest
}

func (a *fakeAgent) hello() *orbit.AgentBatch {
	return &orbit.AgentBatch{Hello: &orbit.AgentHello{Protocol: orbit.Protocol + a.newer, Version: "v9", Node: a.node,
		Instance: 1, KnownSince: 1, Kinds: []string{"dns", "flow"}, Reach: a.reach,
		Time: uint64(time.Now().Add(a.ahead).UnixNano())}}
}

func (a *fakeAgent) Stream(s grpc.BidiStreamingServer[orbit.AgentStreamRequest, orbit.AgentBatch]) error {
	r, err := s.Recv()
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.streams = append(a.streams, r)
	a.mu.Unlock()
	if err := s.Send(a.hello()); err != nil {
		return err
	}
	a.mu.Lock()
	live := a.live
	a.mu.Unlock()
	for {
		select {
		case b, ok := <-live:
			if !ok {
				return status.Error(codes.Unavailable, "the agent ends")
			}
			if err := s.Send(b); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func (a *fakeAgent) Query(s grpc.BidiStreamingServer[orbit.AgentQueryRequest, orbit.AgentBatch]) error {
	r, err := s.Recv()
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.queries = append(a.queries, r)
	mute := a.mute
	a.mu.Unlock()
	if mute {
		<-s.Context().Done()
		return nil
	}
	if err := s.Send(a.hello()); err != nil {
		return err
	}
	var found []*event.Event
	for _, ev := range a.history {
		if ev.GetTime() >= r.GetSince() && (r.GetUntil() == 0 || ev.GetTime() < r.GetUntil()) {
			found = append(found, ev)
		}
	}
	truncated := r.GetNewest() > 0 && len(found) > int(r.GetNewest())
	if truncated {
		found = found[len(found)-int(r.GetNewest()):]
	}
	sent, read := proto.Size(a.hello()), 0
	for events := range slices.Chunk(found, 20) {
		b := &orbit.AgentBatch{Events: events, Watermark: events[len(events)-1].GetTime()}
		if err := s.Send(b); err != nil {
			return err
		}
		sent += proto.Size(b)
		for sent-read > int(r.GetWindow()/2) {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			read = int(m.GetRead())
		}
	}
	return s.Send(&orbit.AgentBatch{Truncated: truncated})
}

func (a *fakeAgent) Status(context.Context, *orbit.AgentStatusRequest) (*orbit.AgentStatus, error) {
	return &orbit.AgentStatus{Hello: a.hello().GetHello()}, nil
}

// dnsEvent is a DNS event of a pod.
func dnsEvent(at uint64, namespace, pod string) *event.Event {
	return &event.Event{Time: at, Namespace: namespace, Pod: pod, PodUid: namespace + pod,
		Kind: &event.Event_Dns{Dns: &event.Dns{Name: fmt.Sprint(at), Protocol: event.Protocol_PROTOCOL_UDP,
			Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Attempts: 1,
			Src:      &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 1},
			Dst:      &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 53},
			Observed: event.Side_SIDE_SRC}}}
}

// harness is a server with agents, and a client.
type harness struct {
	*testing.T
	service *Service
	client  orbit.OrbitServiceClient
}

func newHarness(t *testing.T, door Door, fakes ...*fakeAgent) *harness {
	t.Helper()
	return newHarnessOn(t, fake.NewClientset(), door, fakes...)
}

// newHarnessOn is newHarness with an API server.
func newHarnessOn(t *testing.T, api kubernetes.Interface, door Door, fakes ...*fakeAgent) *harness {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	pods, err := cluster.Open(t.Context(), clientset.Of(api), cluster.Query{AllNamespaces: true}, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pods.Close)
	addresses := map[string]string{}
	toAgent := func(string) credentials.TransportCredentials { return insecure.NewCredentials() }
	s := &Service{running: t.Context(), door: door, agents: newAgents(toAgent, log), cluster: pods, version: "v1",
		log: log, memory: newMemory(0), turns: newTurns(), agentTimeout: agentTimeout,
		expiry: func() (own, authority time.Time) { return time.Now(), time.Now() }}
	for _, a := range fakes {
		a.t = t
		addresses[a.node] = listen(t, func(g *grpc.Server) { orbit.RegisterAgentServer(g, a) })
		connected, err := s.agents.connect(endpoint{node: a.node, address: addresses[a.node]})
		if err != nil {
			t.Fatal(err)
		}
		s.agents.nodes[a.node] = connected
	}
	t.Cleanup(s.agents.closeAll)
	address := listen(t, func(g *grpc.Server) { orbit.RegisterOrbitServiceServer(g, s) })
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &harness{T: t, service: s, client: orbit.NewOrbitServiceClient(conn)}
}

// listen serves on loopback until the test ends.
func listen(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.ForceServerCodecV2(orbit.NewCodec()))
	register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	return l.Addr().String()
}

// answers reads a query's answer to its end.
func (h *harness) answers(r *orbit.QueryRequest) (events []*event.Event, coverage *orbit.Coverage) {
	h.Helper()
	r.Protocol = orbit.Protocol
	stream, err := h.client.QueryEvents(h.Context(), r)
	if err != nil {
		h.Fatal(err)
	}
	for {
		a, err := stream.Recv()
		if err != nil {
			if coverage == nil {
				h.Fatal(err)
			}
			return events, coverage
		}
		events = append(events, a.GetEvents()...)
		if a.GetCoverage() != nil {
			coverage = a.GetCoverage()
		}
	}
}

func names(events []*event.Event) (all []string) {
	for _, ev := range events {
		if d := ev.GetDns(); d != nil {
			all = append(all, d.GetName())
		}
	}
	return all
}

// now is the time of the first events of tests.
var now = uint64(time.Now().Add(-time.Minute).UnixNano())

func TestQuery_LastIsOfAllNodesTogether(t *testing.T) {
	// Nearly all of the newest events are on one node, which gets a second request.
	busy, idle := &fakeAgent{node: "busy"}, &fakeAgent{node: "idle"}
	var want []string
	for i := range uint64(1000) {
		busy.history = append(busy.history, dnsEvent(now+1000+i, "shop", "web"))
		want = append(want, fmt.Sprint(now+1000+i))
	}
	for i := range uint64(1000) {
		idle.history = append(idle.history, dnsEvent(now+i, "shop", "db"))
	}
	h := newHarness(t, &fakeDoor{}, busy, idle)
	events, coverage := h.answers(&orbit.QueryRequest{Last: 900, Selection: &orbit.Selection{Kinds: []string{"dns"}}})
	if got := names(events); !slices.Equal(got, want[100:]) {
		t.Errorf("got %d events, want the newest 900 of busy", len(got))
	}
	if len(coverage.GetNodes()) != 2 || !coverage.GetAllNamespaces() {
		t.Errorf("covered: %v", coverage)
	}
	if len(busy.queries) < 1 || busy.queries[0].GetNewest() > 2000 {
		t.Errorf("asked for %v", busy.queries)
	}
}

func TestQuery_WithholdsOtherNamespaces(t *testing.T) {
	a := &fakeAgent{node: "a", history: []*event.Event{dnsEvent(now, "shop", "web"), dnsEvent(now+1, "bank", "db"),
		dnsEvent(now+2, "shop", "web")}}
	h := newHarness(t, &fakeDoor{namespaces: []string{"shop"}}, a)
	events, coverage := h.answers(request(&orbit.Selection{Namespaces: []string{"shop", "bank"}}))
	if got := names(events); !slices.Equal(got, []string{fmt.Sprint(now), fmt.Sprint(now + 2)}) {
		t.Errorf("got %v", got)
	}
	if coverage.GetAllNamespaces() || !slices.Equal(coverage.GetNamespaces(), []string{"shop"}) {
		t.Errorf("covered: %v", coverage)
	}
}

func TestRequests_AreChecked(t *testing.T) {
	h := newHarness(t, &fakeDoor{}, &fakeAgent{node: "a"})
	for name, c := range map[string]struct {
		r    *orbit.QueryRequest
		code codes.Code
	}{
		"another protocol": {&orbit.QueryRequest{Protocol: 99}, codes.FailedPrecondition},
		"no protocol":      {&orbit.QueryRequest{}, codes.FailedPrecondition},
		"an unknown kind":  {request(&orbit.Selection{Kinds: []string{"pings"}}), codes.InvalidArgument},
		"a row":            {request(&orbit.Selection{Kinds: []string{"networkTop"}}), codes.InvalidArgument},
		"a bad namespace":  {request(&orbit.Selection{Namespaces: []string{"../x"}}), codes.InvalidArgument},
		"a name for any":   {request(&orbit.Selection{Names: []string{"web"}}), codes.InvalidArgument},
		"a bad label":      {request(&orbit.Selection{Labels: "a=(b"}), codes.InvalidArgument},
		"a bad filter":     {request(&orbit.Selection{Filter: "1 +"}), codes.InvalidArgument},
		"a service": {request(&orbit.Selection{Namespaces: []string{"a"}, Names: []string{"svc/a"}}),
			codes.InvalidArgument},
		"until before since":   {speaking(&orbit.QueryRequest{Since: 5, Until: 4}), codes.InvalidArgument},
		"ago and since":        {speaking(&orbit.QueryRequest{Since: 5, Ago: 4}), codes.InvalidArgument},
		"too many of the last": {speaking(&orbit.QueryRequest{Last: orbit.MaxLast + 1}), codes.InvalidArgument},
	} {
		stream, err := h.client.QueryEvents(t.Context(), c.r)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
}

func request(s *orbit.Selection) *orbit.QueryRequest {
	return &orbit.QueryRequest{Protocol: orbit.Protocol, Selection: s}
}

// speaking adds the protocol to a request.
func speaking(r *orbit.QueryRequest) *orbit.QueryRequest {
	r.Protocol = orbit.Protocol
	return r
}

func TestStream_MergesAndResumes(t *testing.T) {
	a, b := &fakeAgent{node: "a", live: make(chan *orbit.AgentBatch)}, &fakeAgent{node: "b",
		live: make(chan *orbit.AgentBatch)}
	door := &fakeDoor{revoke: make(chan error)}
	h := newHarness(t, door, a, b)
	stream, err := h.client.StreamEvents(t.Context(), &orbit.StreamRequest{Protocol: orbit.Protocol,
		Selection: &orbit.Selection{Kinds: []string{"dns"}}})
	if err != nil {
		t.Fatal(err)
	}
	at := uint64(time.Now().UnixNano())
	a.live <- &orbit.AgentBatch{Sequence: 1, Events: []*event.Event{dnsEvent(at+2, "shop", "web")}, Watermark: at + 3}
	b.live <- &orbit.AgentBatch{Sequence: 1, Events: []*event.Event{dnsEvent(at+1, "bank", "db")}, Watermark: at + 3}
	want := []string{fmt.Sprint(at + 1), fmt.Sprint(at + 2)}
	// In which order depends on which agent answers first: package collect waits only for those that it has heard.
	if got := receive(t, stream, 2); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// The stream of a is cut once, and resumes behind the batch that was read.
	next := make(chan *orbit.AgentBatch)
	a.mu.Lock()
	cut := a.live
	a.live = next
	a.mu.Unlock()
	close(cut)
	next <- &orbit.AgentBatch{Sequence: 2, Events: []*event.Event{dnsEvent(at+5, "shop", "web")}, Watermark: at + 9}
	if got := receive(t, stream, 1); !slices.Equal(got, []string{fmt.Sprint(at + 5)}) {
		t.Errorf("got %v after the cut", got)
	}
	a.mu.Lock()
	last := a.streams[len(a.streams)-1]
	a.mu.Unlock()
	if last.GetResumeFrom() != 2 || last.GetInstance() != 1 {
		t.Errorf("resumed with %v", last)
	}
	door.revoke <- status.Error(codes.PermissionDenied, "no more")
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("ended with %v", err)
	}
	if len(h.service.callsOf) != 0 || h.service.calls != 0 {
		t.Errorf("%d requests are left", h.service.calls)
	}
}

// receive reads n DNS events.
func receive(t *testing.T, stream grpc.ServerStreamingClient[orbit.Answer], n int) (got []string) {
	t.Helper()
	for len(got) < n {
		a, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, names(a.GetEvents())...)
	}
	return got
}

func TestQueue_CountsWhatASlowClientLoses(t *testing.T) {
	q := newQueue(newShare(t, 64<<20), func(uint64) {})
	const produced = queueEvents + 500
	for i := range uint64(produced) {
		q.add(dnsEvent(i, "shop", "web"))
	}
	q.end()
	delivered, lost := 0, uint64(0)
	for {
		wire, ok, err := q.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		var a orbit.Answer
		if err := proto.Unmarshal(wire, &a); err != nil {
			t.Fatal(err)
		}
		delivered += len(names(a.GetEvents()))
		for _, ev := range a.GetEvents() {
			if l := ev.GetLost(); l != nil {
				lost += l.GetCount()
				if ev.GetPod() != "web" {
					t.Errorf("a loss of %q", ev.GetPod())
				}
			}
		}
	}
	if uint64(delivered)+lost != produced || lost == 0 {
		t.Errorf("%d delivered and %d lost of %d", delivered, lost, produced)
	}
}

func TestAgents_FollowEndpointSlices(t *testing.T) {
	a := newAgents(func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(a.closeAll)
	slice := func(name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Endpoints: endpoints}
	}
	at := func(node, address string, ready, serving bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: &node, Addresses: []string{address},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving}}
	}
	got := func() (all []string) {
		agents, _ := a.all()
		for _, g := range agents {
			all = append(all, g.node+" "+g.address)
		}
		return all
	}
	a.set(slice("x", at("n1", "10.0.0.1", true, true), at("n2", "10.0.0.2", false, false)))
	a.set(slice("y", at("n3", "fd00::3", true, true)))
	if want := []string{"n1 10.0.0.1:9090", "n3 [fd00::3]:9090"}; !slices.Equal(got(), want) {
		t.Errorf("got %v, want %v", got(), want)
	}
	before, _ := a.get("n1")
	// A new agent of n1 is ready while the one before terminates.
	a.set(slice("x", at("n1", "10.0.0.1", false, true), at("n1", "10.0.0.9", true, true)))
	select {
	case <-before.gone:
	default:
		t.Error("the connection to the agent before is kept")
	}
	a.delete("y")
	if want := []string{"n1 10.0.0.9:9090"}; !slices.Equal(got(), want) {
		t.Errorf("got %v, want %v", got(), want)
	}
}
