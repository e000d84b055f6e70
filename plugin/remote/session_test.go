package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// fakeServer plays one script per stream, and per query; the last one waits for the client to end it.
type fakeServer struct {
	orbit.UnimplementedOrbitServiceServer
	mu      sync.Mutex
	scripts []script
	streams []*orbit.StreamRequest
	queries int
}

type script struct {
	answers []*orbit.Answer
	err     error // nil: the stream goes on
}

func (f *fakeServer) StreamEvents(r *orbit.StreamRequest, s grpc.ServerStreamingServer[orbit.Answer]) error {
	f.mu.Lock()
	play := f.scripts[min(len(f.streams), len(f.scripts)-1)]
	f.streams = append(f.streams, r)
	f.mu.Unlock()
	for _, a := range play.answers {
		if err := s.Send(a); err != nil {
			return err
		}
	}
	if play.err != nil {
		return play.err
	}
	<-s.Context().Done()
	return nil
}

func (f *fakeServer) QueryEvents(_ *orbit.QueryRequest, s grpc.ServerStreamingServer[orbit.Answer]) error {
	f.mu.Lock()
	play := f.scripts[min(f.queries, len(f.scripts)-1)]
	f.queries++
	f.mu.Unlock()
	for _, a := range play.answers {
		if err := s.Send(a); err != nil {
			return err
		}
	}
	return play.err
}

// serve returns a Dial to the server. dialErrors fail the attempts after the first.
func serve(t *testing.T, f *fakeServer, dialErrors ...error) Dial {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	orbit.RegisterOrbitServiceServer(g, f)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	dials := 0
	return func(context.Context) (Conn, error) {
		if dials++; dials > 1 && dials-2 < len(dialErrors) {
			return nil, dialErrors[dials-2]
		}
		return grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	}
}

// consumer keeps the names of what it is shown, and ends the session after so many.
type consumer struct {
	names []string
	end   func()
	after int
}

func (c *consumer) Show(ev *event.Event) error {
	if d := ev.GetDns(); d != nil {
		c.names = append(c.names, d.GetName())
		if len(c.names) == c.after {
			c.end()
		}
	}
	return nil
}

func (c *consumer) Close() error { return nil }
func (c *consumer) Shown() int   { return len(c.names) }

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Logf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
}

func (l *lines) LogOncef(format string, args ...any) { l.Logf(format, args...) }

func answered(names ...string) *orbit.Answer {
	a := &orbit.Answer{}
	for i, name := range names {
		a.Events = append(a.Events, &event.Event{Time: uint64(time.Now().UnixNano()) - uint64(i), Pod: "web",
			Kind: &event.Event_Dns{Dns: &event.Dns{Name: name}}})
	}
	return a
}

func covered(answers ...orbit.NodeAnswer) *orbit.Answer {
	c := &orbit.Coverage{AllNamespaces: true}
	for i, a := range answers {
		c.Nodes = append(c.Nodes, &orbit.NodeCoverage{Node: fmt.Sprint("node-", i), Answer: a, Kinds: []string{"dns"},
			Message: "no agent is ready"})
	}
	return &orbit.Answer{Coverage: c}
}

const (
	ok          = orbit.NodeAnswer_NODE_ANSWER_OK
	unreachable = orbit.NodeAnswer_NODE_ANSWER_UNREACHABLE
)

func TestSession_ContinuesAtAnotherServer(t *testing.T) {
	first := answered("a", "b")
	repeated := &orbit.Answer{Events: append(slices.Clone(first.GetEvents()), answered("c").GetEvents()...)}
	f := &fakeServer{scripts: []script{
		{[]*orbit.Answer{{Watermark: 1}, covered(ok), first}, status.Error(codes.Unavailable, "the server ends")},
		{[]*orbit.Answer{covered(ok), repeated}, nil},
	}}
	log := &lines{}
	s := New(t.Context(), Config{Selection: &orbit.Selection{Kinds: []string{"dns"}}},
		serve(t, f, errors.New("no server is ready")), log)
	c := &consumer{after: 3, end: func() { s.End(live.ErrDone) }}
	tally, err := s.Run(func() (live.Consumer, error) { return c, nil })
	if err != nil || tally.Events != 3 || tally.Traced != 1 {
		t.Errorf("tally %+v, %v\n%q", tally, err, log.all)
	}
	if !slices.Equal(c.names, []string{"a", "b", "c"}) {
		t.Errorf("shown %v, want a, b, c", c.names)
	}
	if since := f.streams[1].GetSince(); since == 0 || since > first.GetEvents()[0].GetTime() {
		t.Errorf("continued since %d", since)
	}
	if !slices.Contains(log.all, "1/1 node streaming from installed agents") {
		t.Errorf("logged %q", log.all)
	}
}

func TestSession_ContinuesFromItsBeginning(t *testing.T) {
	begin := uint64(time.Now().UnixNano())
	f := &fakeServer{scripts: []script{
		{[]*orbit.Answer{{Watermark: begin}, covered(ok)}, status.Error(codes.Unavailable, "the server ends")},
		{[]*orbit.Answer{{Watermark: begin}, covered(ok), answered("a")}, nil},
	}}
	s := New(t.Context(), Config{Selection: &orbit.Selection{Kinds: []string{"dns"}}}, serve(t, f), &lines{})
	c := &consumer{after: 1, end: func() { s.End(live.ErrDone) }}
	if _, err := s.Run(func() (live.Consumer, error) { return c, nil }); err != nil {
		t.Error(err)
	}
	if since := f.streams[1].GetSince(); since != begin {
		t.Errorf("without an event, the second server begins at %d, want %d", since, begin)
	}
}

// The clock of a node is 5 minutes ahead: its newest event says nothing of how far the others have come.
func TestSession_ContinuesByTheClockOfEachNode(t *testing.T) {
	const ahead = 5 * time.Minute
	at := uint64(time.Now().UnixNano())
	answer := covered(ok, ok)
	answer.Coverage.Nodes[0].ClockSkew = int64(ahead)
	f := &fakeServer{scripts: []script{
		{[]*orbit.Answer{{Watermark: at - uint64(time.Minute)}, answer, {Events: []*event.Event{
			{Node: "node-0", Time: at + uint64(ahead), Kind: &event.Event_Dns{Dns: &event.Dns{Name: "a"}}},
			{Node: "node-1", Time: at - 1, Kind: &event.Event_Dns{Dns: &event.Dns{Name: "b"}}},
		}}}, status.Error(codes.Unavailable, "the server ends")},
		{[]*orbit.Answer{answer, answered("c")}, nil},
	}}
	s := New(t.Context(), Config{Selection: &orbit.Selection{Kinds: []string{"dns"}}}, serve(t, f), &lines{})
	c := &consumer{after: 3, end: func() { s.End(live.ErrDone) }}
	if _, err := s.Run(func() (live.Consumer, error) { return c, nil }); err != nil {
		t.Error(err)
	}
	since, nodes := f.streams[1].GetSince(), f.streams[1].GetNodeSince()
	if since != at-uint64(overlap) || len(nodes) != 1 || nodes["node-0"] != since+uint64(ahead) {
		t.Errorf("the second server begins at %d, nodes %v; want %d", since, nodes, at-uint64(overlap))
	}
}

func TestSession_EndsWhereItIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		scripts []script
		opened  bool
	}{
		"at once": {[]script{{nil, status.Error(codes.PermissionDenied, "you may not")}}, false},
		"when a right is revoked": {[]script{{[]*orbit.Answer{covered(ok)}, status.Error(codes.PermissionDenied,
			"you may not")}}, true},
	} {
		opened := false
		f := &fakeServer{scripts: c.scripts}
		s := New(t.Context(), Config{Selection: &orbit.Selection{}}, serve(t, f), &lines{})
		tally, err := s.Run(func() (live.Consumer, error) {
			opened = true
			return &consumer{}, nil
		})
		if status.Code(err) != codes.PermissionDenied || opened != c.opened || (tally != nil) != c.opened {
			t.Errorf("%s: %v, opened %v, tally %v", name, err, opened, tally)
		}
		if got := Explain(err); got.Error() != "you may not" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSession_RenewsTheCertificateOnce(t *testing.T) {
	stranger := status.Error(codes.Unauthenticated, "the certificate has expired")
	f := &fakeServer{scripts: []script{
		{nil, stranger},
		{[]*orbit.Answer{covered(ok), answered("a")}, stranger},
		{[]*orbit.Answer{covered(ok), answered("b")}, nil},
	}}
	s := New(t.Context(), Config{Selection: &orbit.Selection{}}, serve(t, f), &lines{})
	c := &consumer{after: 2, end: func() { s.End(live.ErrDone) }}
	if _, err := s.Run(func() (live.Consumer, error) { return c, nil }); err != nil || len(f.streams) != 3 {
		t.Errorf("%v after %d streams", err, len(f.streams))
	}
	// A server that knows nobody gets no third request.
	f = &fakeServer{scripts: []script{{nil, stranger}}}
	s = New(t.Context(), Config{Selection: &orbit.Selection{}}, serve(t, f), &lines{})
	_, err := s.Run(func() (live.Consumer, error) { return &consumer{}, nil })
	if status.Code(err) != codes.Unauthenticated || len(f.streams) != 2 {
		t.Errorf("%v after %d streams", err, len(f.streams))
	}
}

func TestSession_NodesThatDoNotAnswer(t *testing.T) {
	log := &lines{}
	f := &fakeServer{scripts: []script{{[]*orbit.Answer{covered(ok, unreachable), answered("a")}, nil}}}
	s := New(t.Context(), Config{Selection: &orbit.Selection{Kinds: []string{"dns", "exec"}}}, serve(t, f), log)
	c := &consumer{after: 1, end: func() { s.End(live.ErrDone) }}
	tally, err := s.Run(func() (live.Consumer, error) { return c, nil })
	if !errors.Is(err, live.ErrSomeFailed) || tally.Traced != 1 || tally.Nodes != 2 {
		t.Errorf("tally %+v, %v", tally, err)
	}
	for _, want := range []string{"node-1: no agent is ready",
		"1/2 nodes streaming from installed agents; not recorded: exec"} {
		if !slices.Contains(log.all, want) {
			t.Errorf("logged %q, want %q", log.all, want)
		}
	}
}

func TestQuery_CountsAndCovers(t *testing.T) {
	lost := &orbit.Answer{Events: []*event.Event{{Node: "node-0", Kind: &event.Event_Lost{Lost: &event.Lost{
		Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 7}}}}}
	f := &fakeServer{scripts: []script{{[]*orbit.Answer{answered("a", "b"), lost, covered(ok, unreachable)}, nil}}}
	dial := serve(t, f)
	c := &consumer{}
	r, err := Query(t.Context(), dial, &orbit.QueryRequest{}, Form{}, func() (live.Consumer, error) { return c, nil })
	if err != nil || r.Tally.Events != 2 || r.Tally.Traced != 1 || r.Tally.Nodes != 2 || !r.Tally.Lost() {
		t.Errorf("%+v, %v", r, err)
	}
	f.scripts[0] = script{[]*orbit.Answer{answered("a")}, nil}
	if _, err := Query(t.Context(), dial, &orbit.QueryRequest{}, Form{}, func() (live.Consumer, error) {
		return c, nil
	}); err == nil {
		t.Error("an answer without its end is accepted")
	}
	f.scripts[0] = script{nil, status.Error(codes.InvalidArgument, "filter: no")}
	_, err = Query(t.Context(), dial, &orbit.QueryRequest{}, Form{}, func() (live.Consumer, error) { return c, nil })
	if got := Explain(err); got == nil || got.Error() != "filter: no" {
		t.Errorf("got %v", got)
	}
}

func TestAsk_RenewsTheCertificateOnce(t *testing.T) {
	stranger := status.Error(codes.Unauthenticated, "the certificate has expired")
	other := status.Error(codes.Unavailable, "the server ends")
	for name, c := range map[string]struct {
		answers []error
		want    error
		asked   int
	}{
		"known":                 {[]error{nil}, nil, 1},
		"unknown once":          {[]error{stranger, nil}, nil, 2},
		"unknown twice":         {[]error{stranger, stranger, nil}, stranger, 2},
		"another error":         {[]error{other, nil}, other, 1},
		"unknown, then another": {[]error{stranger, other}, other, 2},
	} {
		asked := 0
		conn, err := Ask(t.Context(), serve(t, &fakeServer{}), func(Conn) error {
			asked++
			return c.answers[asked-1]
		})
		if !errors.Is(err, c.want) || asked != c.asked || (conn == nil) != (c.want != nil) {
			t.Errorf("%s: %v after %d requests, connection %v", name, err, asked, conn)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
	_, err := Ask(t.Context(), func(context.Context) (Conn, error) { return nil, errOutput }, nil)
	if !errors.Is(err, errOutput) {
		t.Errorf("without a connection: %v", err)
	}
}

// TestQuery_RenewsTheCertificateOnce has a server that does not know the caller at first, and one that forgets them.
func TestQuery_RenewsTheCertificateOnce(t *testing.T) {
	stranger := status.Error(codes.Unauthenticated, "the certificate has expired")
	f := &fakeServer{scripts: []script{{nil, stranger}, {[]*orbit.Answer{answered("a"), covered(ok)}, nil}}}
	opened := 0
	open := func() (live.Consumer, error) {
		opened++
		return &consumer{}, nil
	}
	r, err := Query(t.Context(), serve(t, f), &orbit.QueryRequest{}, Form{}, open)
	if err != nil || r.Tally.Events != 1 || f.queries != 2 || opened != 1 {
		t.Errorf("%+v, %v after %d queries and %d outputs", r, err, f.queries, opened)
	}
	f = &fakeServer{scripts: []script{{[]*orbit.Answer{answered("a")}, stranger}}}
	if _, err := Query(t.Context(), serve(t, f), &orbit.QueryRequest{}, Form{}, open); err == nil || f.queries != 1 {
		t.Errorf("%v after %d queries", err, f.queries)
	}
}

func TestProbe_WaitsForAllNodes(t *testing.T) {
	f := &fakeServer{scripts: []script{{[]*orbit.Answer{covered(), covered(ok, orbit.NodeAnswer_NODE_ANSWER_UNKNOWN),
		covered(ok, ok)}, nil}}}
	conn, err := serve(t, f)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Probe(t.Context(), conn, &orbit.Selection{})
	if err != nil || len(c.GetNodes()) != 2 || c.GetNodes()[1].GetAnswer() != ok {
		t.Errorf("%v, %v", c, err)
	}
}
