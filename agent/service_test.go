package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

// newService returns a service with a history, and a client of it.
func newService(t *testing.T) (*feed, orbit.AgentClient) {
	t.Helper()
	rolling, err := history.OpenRolling(history.RollingOptions{MemoryBytes: 4 << 20, Node: "node-1"})
	if err != nil {
		t.Fatal(err)
	}
	f, times := newFeed("node-1", nowNs, rolling.Append), newSeen(0, 0)
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer(grpc.ForceServerCodecV2(orbit.NewCodec()))
	orbit.RegisterAgentServer(g, &service{feed: f, history: rolling, seen: times,
		hello: func() (*orbit.AgentHello, uint64) {
			h := &orbit.AgentHello{Node: "node-1", Instance: 9}
			return h, times.describe(h)
		},
		status: func() *orbit.AgentStatus { return &orbit.AgentStatus{} }})
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		serving.Wait()
		if err := rolling.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, orbit.NewAgentClient(conn)
}

// at encodes a DNS event of a time.
func at(t *testing.T, time uint64, namespace string) []byte {
	t.Helper()
	b, err := proto.Marshal(&event.Event{Time: time, Namespace: namespace, Pod: "web",
		Kind: &event.Event_Dns{Dns: &event.Dns{Name: fmt.Sprint(time)}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request sends a request.
func request[R any](
	t *testing.T,
	method func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[R, orbit.AgentBatch], error), r *R,
) grpc.BidiStreamingClient[R, orbit.AgentBatch] {
	t.Helper()
	stream, err := method(t.Context())
	if err == nil {
		err = stream.Send(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// read reads the DNS events of a stream until there are n, or to its end where n is 0.
func read(t *testing.T, stream interface {
	Recv() (*orbit.AgentBatch, error)
}, n int) (got []string, truncated bool) {
	t.Helper()
	for n == 0 || len(got) < n {
		b, err := stream.Recv()
		if err != nil {
			if n > 0 {
				t.Fatal(err)
			}
			return got, truncated
		}
		truncated = truncated || b.GetTruncated()
		for _, ev := range b.GetEvents() {
			if d := ev.GetDns(); d != nil {
				got = append(got, d.GetName())
			}
		}
	}
	return got, truncated
}

func TestService_StreamsFromThePastOn(t *testing.T) {
	f, client := newService(t)
	f.emit(tracer.Batch{Events: [][]byte{at(t, 10, "shop"), at(t, 20, "shop"), at(t, 30, "bank")}})
	stream := request(t, client.Stream, &orbit.AgentStreamRequest{Protocol: orbit.Protocol, Since: 15,
		Selection: &orbit.NodeSelection{Namespaces: []string{"shop"}}})
	if got, _ := read(t, stream, 1); strings.Join(got, " ") != "20" {
		t.Errorf("got %v of the past, want 20", got)
	}
	f.emit(tracer.Batch{Events: [][]byte{at(t, 40, "bank"), at(t, 50, "shop")}})
	if got, _ := read(t, stream, 1); strings.Join(got, " ") != "50" {
		t.Errorf("got %v, want 50", got)
	}
}

func TestService_QueriesTheHistory(t *testing.T) {
	f, client := newService(t)
	var events [][]byte
	for i := range uint64(3000) {
		events = append(events, at(t, i, "shop"))
	}
	f.emit(tracer.Batch{Events: events})
	for name, c := range map[string]struct {
		r         *orbit.AgentQueryRequest
		want      int
		first     string
		truncated bool
	}{
		"all":           {&orbit.AgentQueryRequest{}, 3000, "0", false},
		"a time":        {&orbit.AgentQueryRequest{Since: 100, Until: 200}, 100, "100", false},
		"the newest":    {&orbit.AgentQueryRequest{Newest: 10}, 10, "2990", true},
		"another kind":  {selecting(&orbit.NodeSelection{Kinds: []string{"tcp"}}), 0, "", false},
		"another pod":   {selecting(&orbit.NodeSelection{Pods: []string{"db"}}), 0, "", false},
		"that workload": {selecting(&orbit.NodeSelection{Workloads: []string{"a"}}), 0, "", false},
	} {
		c.r.Protocol = orbit.Protocol
		stream := request(t, client.Query, c.r)
		got, truncated := read(t, stream, 0)
		if len(got) != c.want || truncated != c.truncated || len(got) > 0 && got[0] != c.first {
			t.Errorf("%s: %d events, truncated %v, want %d from %s on", name, len(got), truncated, c.want, c.first)
		}
	}
}

func TestService_LossesAreInEveryAnswer(t *testing.T) {
	f, client := newService(t)
	lost, err := proto.Marshal(&event.Event{Time: 20, Kind: &event.Event_Lost{Lost: &event.Lost{Count: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	f.emit(tracer.Batch{Events: [][]byte{at(t, 10, "shop"), lost, at(t, 30, "bank")}})
	stream := request(t, client.Query, &orbit.AgentQueryRequest{Protocol: orbit.Protocol,
		Selection: &orbit.NodeSelection{Namespaces: []string{"shop"}, Kinds: []string{"dns"}}})
	var count uint64
	for {
		b, err := stream.Recv()
		if err != nil {
			break
		}
		for _, ev := range b.GetEvents() {
			count += ev.GetLost().GetCount()
			if ev.GetNamespace() == "bank" {
				t.Error("an event of another namespace")
			}
		}
	}
	if count != 7 {
		t.Errorf("%d lost, want 7", count)
	}
}

// TestService_WaitsForTheReader reads an answer of a history and one of live events in small windows.
func TestService_WaitsForTheReader(t *testing.T) {
	f, client := newService(t)
	var events [][]byte
	for i := range uint64(3000) {
		events = append(events, at(t, i+1, "shop"))
	}
	f.emit(tracer.Batch{Events: events})
	const window = 4 << 10
	query := request(t, client.Query, &orbit.AgentQueryRequest{Protocol: orbit.Protocol, Window: window})
	live := request(t, client.Stream, &orbit.AgentStreamRequest{Protocol: orbit.Protocol, Window: window, Since: 1})
	for name, c := range map[string]struct {
		recv func() (*orbit.AgentBatch, error)
		send func(read int) error
	}{
		"query": {query.Recv, func(read int) error {
			return query.Send(&orbit.AgentQueryRequest{Read: uint64(read)})
		}},
		"stream": {live.Recv, func(read int) error {
			return live.Send(&orbit.AgentStreamRequest{Read: uint64(read)})
		}},
	} {
		var got, bytes, acknowledged int
		for got < len(events) {
			b, err := c.recv()
			if err != nil {
				t.Fatal(name, err)
			}
			size := proto.Size(b)
			got, bytes = got+len(b.GetEvents()), bytes+size
			if ahead := bytes - acknowledged; size > window/2+64 || ahead > window+64 {
				t.Fatalf("%s: a message of %d bytes, %d ahead", name, size, ahead)
			}
			if bytes-acknowledged > window/2 {
				acknowledged = bytes
				if err := c.send(bytes); err != nil && !errors.Is(err, io.EOF) { // EOF: it has sent all
					t.Fatal(name, err)
				}
			}
		}
	}
}

func selecting(s *orbit.NodeSelection) *orbit.AgentQueryRequest {
	return &orbit.AgentQueryRequest{Selection: s}
}

func TestService_RefusesBadRequests(t *testing.T) {
	_, client := newService(t)
	many := &orbit.NodeSelection{Pods: make([]string, maxSelectedNames+1)}
	long := &orbit.NodeSelection{Namespaces: []string{strings.Repeat("x", maxNameBytes+1)}}
	for name, c := range map[string]struct {
		r    *orbit.AgentStreamRequest
		code codes.Code
	}{
		"another protocol": {&orbit.AgentStreamRequest{Protocol: 99}, codes.FailedPrecondition},
		"too many names":   {&orbit.AgentStreamRequest{Protocol: 1, Selection: many}, codes.InvalidArgument},
		"a long name":      {&orbit.AgentStreamRequest{Protocol: 1, Selection: long}, codes.InvalidArgument},
		"the future": {&orbit.AgentStreamRequest{Protocol: orbit.Protocol, ResumeFrom: 99, Instance: 9},
			codes.OutOfRange},
	} {
		_, err := request(t, client.Stream, c.r).Recv()
		if status.Code(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
}

func TestKnownPods_SurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	k := openPods(dir, log)
	if k.update() != nil {
		t.Error("pods are known before the first update")
	}
	k.apply(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{{Uid: "a", Name: "web"}, {Uid: "b", Name: "db"}}})
	k.apply(&session.PodUpdate{DeleteUids: []string{"b"}})
	if err := k.write(); err != nil {
		t.Fatal(err)
	}
	got := openPods(dir, log).update()
	if !got.GetComplete() || len(got.GetUpsert()) != 1 || got.GetUpsert()[0].GetName() != "web" {
		t.Errorf("got %v", got)
	}
	// A file that is no checkpoint is reported, and does not keep the agent from starting.
	if err := os.WriteFile(filepath.Join(dir, "pods"), []byte("\xff\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	if openPods(dir, log).update() != nil {
		t.Error("pods of a broken file")
	}
}
