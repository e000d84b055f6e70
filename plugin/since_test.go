package plugin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/plugin/door"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// fakeServer answers each query with the same events.
type fakeServer struct {
	orbit.UnimplementedOrbitServiceServer
	coverage *orbit.Coverage
	events   []*event.Event
	request  *orbit.QueryRequest
	// sums, if not nil, answer with the flows' sums: one of a later version.
	sums        []*event.Event
	aggregateBy []string
}

func (f *fakeServer) QueryFlows(r *orbit.QueryFlowsRequest, s grpc.ServerStreamingServer[orbit.Answer]) error {
	f.request, f.aggregateBy = r.GetQuery(), r.GetAggregateBy()
	head, events := &orbit.Answer{Coverage: f.coverage}, f.events
	if len(f.aggregateBy) > 0 && f.sums != nil {
		head.AggregatedBy, events = f.aggregateBy, f.sums
	}
	if err := s.Send(head); err != nil {
		return err
	}
	return s.Send(&orbit.Answer{Events: events, Coverage: f.coverage})
}

func (f *fakeServer) QueryEvents(r *orbit.QueryRequest, s grpc.ServerStreamingServer[orbit.Answer]) error {
	f.request = r
	if err := s.Send(&orbit.Answer{Coverage: f.coverage}); err != nil {
		return err
	}
	for _, ev := range f.events {
		if err := s.Send(&orbit.Answer{Events: []*event.Event{ev}}); err != nil {
			return err
		}
	}
	return s.Send(&orbit.Answer{Coverage: f.coverage})
}

// serveAgents makes the server the one that commands connect to.
func serveAgents(t *testing.T, f *fakeServer) {
	t.Helper()
	pod(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	orbit.RegisterOrbitServiceServer(g, f)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	before := serversOf
	serversOf = func(door.Options) remote.Dial {
		return func(context.Context) (remote.Conn, error) {
			return grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return l.DialContext(ctx)
				}))
		}
	}
	t.Cleanup(func() {
		serversOf = before
		g.Stop()
		serving.Wait()
	})
}

// coverageOf is the coverage of a time of 10 s from began on, of two nodes that record kinds.
func coverageOf(kinds ...string) *orbit.Coverage {
	c := &orbit.Coverage{AllNamespaces: true, Since: uint64(began.UnixNano()),
		Until: uint64(began.Add(10 * time.Second).UnixNano())}
	for _, node := range []string{"n1", "n2"} {
		c.Nodes = append(c.Nodes, &orbit.NodeCoverage{Node: node, Answer: orbit.NodeAnswer_NODE_ANSWER_OK, Kinds: kinds,
			Reach: c.GetSince() - 1})
	}
	return c
}

// lookups and flows of ten seconds. The last event is at the end of the time.
func pastEvents() (events []*event.Event) {
	add := func(node string, second int, ev *event.Event) {
		ev.Node = node
		ev.Time = uint64(began.Add(time.Duration(second)*time.Second).UnixNano()) - 1
		events = append(events, ev)
	}
	flow := func(id string, start time.Time, sent uint64, phase event.Phase) *event.Event {
		f := &event.Flow{Id: id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, Observed: event.Side_SIDE_SRC,
			Src: &event.Endpoint{Namespace: "shop", Pod: "web", Workload: "deploy/web", Port: 4000},
			Dst: &event.Endpoint{Namespace: "shop", Pod: "db", Workload: "sts/db", Port: 5432}}
		if !start.IsZero() {
			f.StartTime = uint64(start.UnixNano())
		}
		f.SrcCounters = &event.Counters{BytesSent: sent, BytesReceived: sent / 2}
		return &event.Event{Namespace: "shop", Pod: "web", Kind: &event.Event_Flow{Flow: f}}
	}
	for i := 1; i <= 10; i++ {
		rcode := "NOERROR"
		if i == 7 {
			rcode = "NXDOMAIN"
		}
		add("n1", i, lookup("web", fmt.Sprint("n", i%3, ".example."), rcode))
		add("n2", i, flow("old", time.Time{}, uint64(1_000_000+100*i), event.Phase_PHASE_UPDATE))
		add("n2", i, flow("new", began.Add(time.Second/2), uint64(1000*i), event.Phase_PHASE_NEW))
	}
	return events
}

// recordAll writes the events as a recording of the time.
func recordAll(t *testing.T, namespace string, at time.Time, kinds []string, events []*event.Event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.orb8")
	w, err := history.Create(path, history.Session{Version: "v9", Kinds: kinds, Targets: "pods",
		Namespace: namespace, Started: at})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if err := w.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSince_PrintsWhatReplayPrints compares the tables of the same events, from a server and from a file.
func TestSince_PrintsWhatReplayPrints(t *testing.T) {
	kinds := []string{"dns", "flow", "tcp"}
	serveAgents(t, &fakeServer{coverage: coverageOf(kinds...), events: pastEvents()})
	path := recordAll(t, "shop", began, kinds, pastEvents())
	for _, args := range []string{
		"dns", "dns --group pod -o wide", "dns -o json", "dns --limit 1", "network", "network --group peer -o json",
		"network --group flow", "network -o csv --sort-by name", "network --filter protocol=='udp'",
	} {
		t.Run(args, func(t *testing.T) {
			list := strings.Fields(args)
			past := append([]string{"top"}, append(list, "-n", "shop", "--since", "10m")...)
			code, live, errs := orb8(t, nil, past...)
			replayCode, file, _ := orb8(t, nil, append([]string{"replay", path, "--top"}, list...)...)
			if code != 0 || replayCode != 0 || live != file || live == "" && !strings.Contains(args, "--filter") {
				t.Errorf("exit codes %d, %d; --since prints\n%sreplay prints\n%s%s", code, replayCode, live, file, errs)
			}
		})
	}
}

func TestSince_PrintsVerdictsAsReplay(t *testing.T) {
	events := append(gpuAt("n1", "busy", 100), gpuAt("n2", "idle", 0)...)
	coverage := coverageOf("gpu", "resources", "flow")
	coverage.Since, coverage.Until = 1_790_000_000_000_000_000, 1_790_000_010_000_000_000
	for _, n := range coverage.GetNodes() {
		n.Reach = coverage.GetSince()
	}
	f := &fakeServer{coverage: coverage, events: events}
	serveAgents(t, f)
	path := recordAll(t, "ml", time.Unix(1_790_000_000, 0), []string{"gpu", "resources", "flow"}, events)
	for _, args := range []string{"", "-o json", "--filter verdict=='abandoned'"} {
		list := append(strings.Fields(args), "--since", "10m", "-n", "ml")
		code, live, errs := orb8(t, nil, append([]string{"why", "gpu"}, list...)...)
		_, file, _ := orb8(t, nil, append([]string{"replay", path, "--why", "gpu"}, strings.Fields(args)...)...)
		if code != 0 || live != file || live == "" {
			t.Errorf("%s: exit code %d; --since prints\n%sreplay prints\n%s%s", args, code, live, file, errs)
		}
	}
	if got := time.Duration(f.request.GetInterval()); got != 10*time.Second {
		t.Errorf("updates of flows each %v, want one for each slot of 10s", got)
	}
}

// TestSince_UnknownIsNoEvidence asks for times of which agents know only a part.
func TestSince_UnknownIsNoEvidence(t *testing.T) {
	at := func(second int) uint64 { return uint64(time.Unix(1_790_000_000+int64(second), 0).UnixNano()) }
	base := func(kinds ...string) *orbit.Coverage {
		c := coverageOf(kinds...)
		c.Since, c.Until = at(0), at(10)
		for _, n := range c.GetNodes() {
			n.Reach = at(0)
		}
		return c
	}
	all := []string{"gpu", "resources", "flow"}
	late := base(all...)
	late.Nodes[1].Answer, late.Nodes[1].Message = orbit.NodeAnswer_NODE_ANSWER_LATE, "no answer within 5s"
	short := base(all...)
	short.Nodes[0].Reach = at(6)
	gap := base(all...)
	gap.Nodes[0].Gaps = []*orbit.Span{{From: at(2), To: at(5)}}
	mixed := base(all...)
	mixed.Nodes[1].Kinds = []string{"gpu", "resources"}
	for _, c := range []struct {
		name      string
		coverage  *orbit.Coverage
		events    []*event.Event
		code      int
		out, errs []string
	}{
		{"a node that does not answer", late, gpuAt("n1", "busy", 100), ExitSomeFailed,
			[]string{"busy on n1", "not seen: n2: no answer within 5s\n"},
			[]string{"n2: no answer within 5s: its events"}},
		{"and no event", late, nil, ExitSomeFailed, nil, []string{
			`it cannot be known: n2: no answer within 5s; of the rest: no pod was seen that matches`}},
		{"a history that begins later", short, gpuAt("n1", "busy", 100), 0, []string{
			"n1: nothing is known of 2026-09-21T14:13:20Z to 2026-09-21T14:13:26Z (6s)\n"}, nil},
		{"and no event", short, nil, ExitError, nil, []string{
			"error: it cannot be known: n1: nothing is known of 2026-09-21T14:13:20Z to 2026-09-21T14:13:26Z (6s)"}},
		{"a gap", gap, gpuAt("n1", "busy", 100), 0, []string{"confidence  medium",
			"n1: nothing is known of 2026-09-21T14:13:22Z to 2026-09-21T14:13:25Z (3s)\n"}, nil},
		{"a kind that is not recorded", base("gpu", "resources"), gpuAt("n1", "busy", 100), 0,
			[]string{"network     not seen"}, []string{"note: the installed agents do not record flow"}},
		{"a kind that one node does not record", mixed, gpuAt("n1", "busy", 100), 0, []string{"network     not seen"},
			[]string{"note: the installed agents do not record flow"}},
		{"no GPUs", base("flow", "resources"), nil, ExitError, nil,
			[]string{"error: the installed agents do not record gpu: of the past, it is not known"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			serveAgents(t, &fakeServer{coverage: c.coverage, events: c.events})
			code, out, errs := orb8(t, nil, "why", "gpu", "-n", "ml", "--since", "10m")
			if code != c.code || len(c.out) == 0 && strings.Contains(out, "confidence") {
				t.Errorf("exit code %d, want %d, and no verdict", code, c.code)
			}
			for _, want := range c.out {
				if !strings.Contains(out, want) {
					t.Errorf("no %q", want)
				}
			}
			for _, want := range c.errs {
				if !strings.Contains(errs, want) {
					t.Errorf("stderr lacks %q", want)
				}
			}
			if t.Failed() {
				t.Logf("%s\n%s", out, errs)
			}
		})
	}
}

// TestSince_NamesWhatIsNotRecorded asks for topics that agents do not record.
func TestSince_NamesWhatIsNotRecorded(t *testing.T) {
	f := &fakeServer{coverage: coverageOf("dns", "flow"), events: pastEvents()}
	serveAgents(t, f)
	for topic, want := range map[string]string{"syscalls": "syscallSummary", "gpu": "gpu"} {
		code, out, errs := orb8(t, nil, "top", topic, "-n", "shop", "--since", "10m")
		if code != ExitError || out != "" || errs != "error: the installed agents do not record "+want+
			": of the past, it is not known; tracers can show it now, without --since\n" {
			t.Errorf("top %s: exit code %d: %q, %s", topic, code, out, errs)
		}
	}
	code, out, errs := orb8(t, nil, "top", "network", "-n", "shop", "--since", "10m")
	if code != 0 || !strings.Contains(out, "web") || !strings.Contains(errs,
		"note: the installed agents do not record tcp\n") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	f.coverage.ForbiddenKinds = []string{"dns"}
	if code, _, errs := orb8(t, nil, "top", "dns", "-n", "shop", "--since", "10m"); code != ExitError ||
		errs != "error: you may not see dns\n" {
		t.Errorf("a forbidden kind: exit code %d: %s", code, errs)
	}
}

// TestSince_Golden prints what docs/query.md shows.
func TestSince_Golden(t *testing.T) {
	c := coverageOf("dns", "flow", "tcp")
	c.Nodes[1].Reach = uint64(began.Add(4 * time.Second).UnixNano())
	f := &fakeServer{coverage: c, events: pastEvents()}
	serveAgents(t, f)
	_, out, errs := orb8(t, nil, "top", "network", "-n", "shop", "--group", "peer", "--since", "2026-11-23T12:00:00Z",
		"--until", "2026-11-23T12:00:10Z", "--filter", "protocol == 'tcp'")
	lines := strings.Split(errs, "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "the history reaches back") })
	got := out + strings.Join(lines, "\n")
	golden := filepath.Join("testdata", "since.golden")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
	}
	r := &orbit.QueryRequest{Protocol: orbit.Protocol, Since: c.GetSince(), Until: c.GetUntil(),
		Interval: int64(maxUpdates), Selection: &orbit.Selection{Kinds: []string{"flow", "tcp"},
			Namespaces: []string{"shop"}, Filter: "protocol == 'tcp'"}}
	if !proto.Equal(f.request, r) {
		t.Errorf("asked\n%v, want\n%v", f.request, r)
	}
}

func TestSince_UsageErrorsQuoteTheFlag(t *testing.T) {
	pod(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	const needsAgents = "--since needs agents, which record: kubectl orb8 install installs them"
	for _, c := range []struct{ args, want string }{
		{"top dns --until 5m", "--until goes with --since"},
		{"top dns --since yesterday", `--since "yesterday": want a duration such as 10m`},
		{"top dns --since 5m --until 6m", "--until 6m: is not after --since 5m"},
		{"top dns --since 5m --mode=ephemeral", needsAgents},
		{"why gpu --since 5m --mode=standalone", needsAgents},
		{"top dns --since 5m --window 1m", "--window does not go with --since"},
		{"top dns --since 5m --count 2", "--count does not go with --since"},
		{"why gpu --since 5m --window 1m", "--window does not go with --since"},
		{"top gpu --since 5m --nvml-library /x", "--nvml-library does not go with --since"},
		{"top network --since 5m --record x", "--record does not go with --since"},
		{"top network x -A --since 5m", `target "x": want no names together with --all-namespaces`},
	} {
		code, _, errs := orb8(t, nil, strings.Fields(c.args)...)
		if code != ExitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d: %s", c.args, code, errs)
		}
	}
}

// TestSince_NeedsAnInstallation asks a cluster without agents.
func TestSince_NeedsAnInstallation(t *testing.T) {
	pod(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
	})
	for _, c := range []struct{ args, who string }{
		{"top dns --since 5m", "--since"}, {"why gpu --since 5m", "--since"}, {"query dns", "a query"},
	} {
		code, out, errs := orb8(t, nil, strings.Fields(c.args)...)
		if code != ExitError || out != "" || strings.Count(errs, "\n") != 1 ||
			!strings.Contains(errs, c.who+" needs the agents of kubectl orb8 install, which record") {
			t.Errorf("%s: exit code %d: %s%s", c.args, code, out, errs)
		}
	}
}

// TestSince_KnowsAllLiveFlags compares the flags that do not go with --since with those that there are.
func TestSince_KnowsAllLiveFlags(t *testing.T) {
	var help strings.Builder
	for _, command := range []string{"top syscalls", "top gpu", "trace syscalls"} {
		_, text, _ := orb8(t, nil, append(strings.Fields(command), "--help")...)
		help.WriteString(text)
	}
	for _, flag := range liveFlags {
		if !strings.Contains(help.String(), "--"+flag+" ") {
			t.Errorf("there is no flag --%s", flag)
		}
	}
}
