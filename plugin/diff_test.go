package plugin

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
	"github.com/orb8-dev/kubectl-orb8/history"
)

// rollout makes the events of a minute: what a workload does before or after a rollout.
func rollout(after bool) (events []*event.Event) {
	web := &event.Endpoint{Namespace: "shop", Pod: "web-7c9-x", Workload: "deploy/web", Container: "app"}
	latency := uint64(800)
	if after {
		web.Pod, latency = "web-8d0-y", 850
	}
	add := func(at time.Duration, ev *event.Event) {
		ev.Time, ev.Node = uint64(began.Add(at).UnixNano()), "n1"
		ev.Namespace, ev.Pod, ev.Workload, ev.Container = "shop", web.GetPod(), "deploy/web", "app"
		events = append(events, ev)
	}
	call := func(at time.Duration, id, service string, port uint32, bytes uint64) {
		dst := &event.Endpoint{Namespace: "shop", Service: service, ServiceNamespace: "shop", ServicePort: port}
		f := &event.Flow{Id: id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_CLOSED,
			Src: web, Dst: dst, StartTime: uint64(began.Add(at).UnixNano()),
			SrcCounters: &event.Counters{BytesSent: bytes, BytesReceived: 300}}
		add(at, &event.Event{Kind: &event.Event_Flow{Flow: f}})
	}
	lookup := func(at time.Duration, name, rcode string) {
		d := &event.Dns{Src: web, Name: name, Rcode: rcode, Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED,
			LatencyMicros: &latency}
		add(at, &event.Event{Kind: &event.Event_Dns{Dns: d}})
	}
	exec := func(at time.Duration, path string) {
		e := &event.Exec{Phase: event.ExecPhase_EXEC_PHASE_EXEC, Filename: []byte(path)}
		add(at, &event.Event{Kind: &event.Event_Exec{Exec: e}})
	}
	for i := range 120 {
		at := time.Duration(i) * time.Second / 2
		call(at, fmt.Sprint("db", i), "db", 5432, 1000)
		lookup(at, "db.shop.svc.cluster.local.", "NOERROR")
		if i%2 > 0 {
			continue
		}
		switch {
		case after:
			call(at, fmt.Sprint("cache", i), "cache", 6379, 100)
			lookup(at, "api.example\x1b[2J.com.", "NXDOMAIN")
			exec(at, "/usr/bin/curl")
		default:
			call(at, fmt.Sprint("db-more", i), "db", 5432, 4000)
			exec(at, "/usr/bin/wget")
		}
	}
	if after {
		exec(30*time.Second, "/bin/sh")
	}
	return events
}

var rolloutKinds = []string{"flow", "dns", "exec"}

// rolloutFiles are the recordings of a rollout.
func rolloutFiles(t *testing.T) (before, after string) {
	t.Helper()
	return recordAll(t, "shop", began, rolloutKinds, rollout(false)),
		recordAll(t, "shop", began.Add(time.Second), rolloutKinds, rollout(true))
}

func TestDiff_Golden(t *testing.T) {
	before, after := rolloutFiles(t)
	code, out, errs := orb8(t, nil, "diff", before, after)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	got := out + errs
	path := filepath.Join("testdata", "diff.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	harmless(t, out+errs)
}

func TestDiff(t *testing.T) {
	before, after := rolloutFiles(t)
	read := func(path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(b []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "y.orb8")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	dns := recordAll(t, "shop", began, []string{"dns"}, nil)
	whole := read(after)
	lookups := slices.DeleteFunc(rollout(false), func(ev *event.Event) bool { return ev.GetDns() == nil })
	for _, test := range []struct {
		name      string
		args      []string
		in        []byte
		code      int
		out, errs []string
	}{
		{"fields", []string{before, after, "-o", "custom-columns=C:change,N:name,M:measure,B:before,A:after",
			"--filter", `topic == "peer"`, "--no-headers"}, nil, 0,
			[]string{"appeared  shop/cache:6379  connections  0        1.008\n"},
			[]string{"4 differences of 1 workload"}},
		{"JSON", []string{before, after, "-o", "json", "--filter", `name == "/bin/sh"`}, nil, 0,
			[]string{`"workload":"deploy/web"`, `"change":"appeared"`, `"certainty":"rare"`, `"container":"app"`,
				`"unit":"perSecond"`, `"before":0,"after":0.017`}, []string{"1 difference of 1 workload"}},
		{"sorted", []string{before, after, "-o", "custom-columns=N:name", "--sort-by", "-name", "--no-headers",
			"--filter", `topic == "exec"`}, nil, 0, []string{"/usr/bin/wget\n/usr/bin/curl\n/bin/sh\n"}, nil},
		{"the same file", []string{before, before}, nil, 0, nil, []string{"both are the same file", "no difference"}},
		{"standard input", []string{before, "-"}, whole, 0, []string{"/usr/bin/curl"}, nil},
		{"all", []string{before, after, "--all"}, nil, 0, []string{"unsteady"}, nil},
		{"no end", []string{before, write(whole[:len(whole)-endSize(t, whole)])}, nil, 0,
			[]string{"/usr/bin/curl"}, []string{"has no end"}},
		{"cut", []string{before, write(whole[:len(whole)-1])}, nil, ExitError, []string{"/usr/bin/curl"},
			[]string{"damaged at byte", "what stands before is compared"}},
		{"foreign", []string{before, write([]byte("PK\x03\x04 something"))}, nil, ExitError, nil,
			[]string{"it is no recording of kubectl orb8"}},
		{"empty", []string{write(nil), after}, nil, ExitError, nil, []string{"it is no recording of kubectl orb8"}},
		{"without events", []string{dns, after}, nil, ExitError, nil, []string{"it holds no events"}},
		{"no such file", []string{"/nowhere/x", after}, nil, ExitError, nil, []string{"/nowhere/x: no such file"}},
		{"other kinds", []string{recordAll(t, "shop", began, []string{"gpu"}, nil), after}, nil, ExitError, nil,
			[]string{"no kind of events can be compared", "holds gpu", "holds flow, dns, exec"}},
		{"fewer kinds", []string{recordAll(t, "shop", began, []string{"dns", "gpu"}, lookups), after}, nil, 0,
			[]string{"dns api.example"}, []string{"not compared: exec (only after), flow (only after)",
				"not compared: gpu"}},
		{"one file", []string{before}, nil, ExitUsage, nil, []string{"want two files"}},
		{"twice standard input", []string{"-", "-"}, whole, ExitUsage, nil, []string{"only one"}},
		{"a namespace", []string{before, after, "-n", "shop"}, nil, ExitUsage, nil, []string{"--namespace goes with"}},
		{"no such field", []string{before, after, "--filter", `chnge == "appeared"`}, nil, ExitUsage, nil,
			[]string{"--filter", "chnge"}},
		{"no such format", []string{before, after, "-o", "xml"}, nil, ExitUsage, nil, []string{"xml"}},
		{"sorted text", []string{before, after, "--sort-by", "name"}, nil, ExitUsage, nil,
			[]string{"go with --output"}},
		{"a short window", []string{"--before", "1h", "--window", "1s"}, nil, ExitUsage, nil, []string{"--window 1s"}},
		{"times that overlap", []string{"--before", "5m"}, nil, ExitUsage, nil, []string{"would overlap"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := orb8(t, test.in, append([]string{"diff"}, test.args...)...)
			if code != test.code || len(test.out) == 0 && out != "" {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, s := range test.out {
				if !strings.Contains(out, s) {
					t.Errorf("no %q in the output", s)
				}
			}
			for _, s := range test.errs {
				if !strings.Contains(errs, s) {
					t.Errorf("stderr lacks %q", s)
				}
			}
			if t.Failed() {
				t.Logf("%s\n%s", out, errs)
			}
		})
	}
}

// TestDiff_ReportsLosses compares with a recording that has lost events and a node's stream.
func TestDiff_ReportsLosses(t *testing.T) {
	before, _ := rolloutFiles(t)
	events := append([]*event.Event{statusAt("n1", 0, streaming)}, rollout(true)...)
	events = append(events, statusAt("n2", 0, streaming), statusAt("n2", 20, failed),
		&event.Event{Time: uint64(began.UnixNano()), Node: "n1", Kind: &event.Event_Lost{Lost: &event.Lost{Count: 3,
			Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Source: "dns"}}})
	after := recordAll(t, "shop", began, rolloutKinds, events)
	code, _, errs := orb8(t, nil, "diff", before, after, "--fail-on-loss")
	if code != ExitLost || !strings.Contains(errs, "LOST 3 at n1 (kernel-buffer, dns); all of n2 for 39.5 s") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// TestDiff_ComparesThePast has agents answer with the same events for both times.
func TestDiff_ComparesThePast(t *testing.T) {
	coverage := coverageOf(rolloutKinds...)
	coverage.Until = uint64(began.Add(time.Minute).UnixNano())
	f := &fakeServer{coverage: coverage, events: rollout(false)}
	serveAgents(t, f)
	code, out, errs := orb8(t, nil, "diff", "--before", "1h", "--window", "1m", "-n", "shop", "deploy/web")
	if code != 0 || out != "" || !strings.Contains(errs, "no difference") ||
		!strings.Contains(errs, "before: 360 events") || !strings.Contains(errs, "after: 360 events") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if s := f.request.GetSelection(); f.request.GetAgo() != int64(time.Minute) || len(s.GetNames()) != 1 ||
		time.Duration(f.request.GetInterval()) != 3*time.Second {
		t.Errorf("asked for %v", f.request)
	}
	for _, n := range coverage.Nodes {
		n.Reach = coverage.GetUntil()
	}
	if code, _, errs = orb8(t, nil, "diff", "--before", "1h", "-n", "shop"); code != ExitError ||
		!strings.Contains(errs, "the history begins at 2026-11-23T12:01:00Z: nothing is known") {
		t.Errorf("a history that is too short: exit code %d: %s", code, errs)
	}
	coverage.Nodes[0].Kinds, coverage.Nodes[1].Kinds = []string{"resources"}, nil
	if code, _, errs = orb8(t, nil, "diff", "--before", "1h", "-n", "shop"); code != ExitError ||
		!strings.Contains(errs, "do not record") {
		t.Errorf("agents without such events: exit code %d: %s", code, errs)
	}
}

// FuzzDiff compares two recordings of mutated events. What is printed is harmless, whatever they hold.
func FuzzDiff(f *testing.F) {
	var kinds []string
	for _, k := range event.Kinds() {
		if !k.Row {
			kinds = append(kinds, k.Name)
		}
	}
	formats := [][]string{nil, {"-o", "json"}, {"-o", "csv"}, {"-o", "wide"}, {"-o", "table", "--sort-by", "-after"}}
	r := rand.New(rand.NewPCG(9, 9))
	for i := range formats {
		in := make([]byte, 600)
		for j := range in {
			in[j] = byte(r.Uint32())
		}
		f.Add(uint8(i), in[:300], in[300:])
	}
	f.Fuzz(func(t *testing.T, format uint8, x, y []byte) {
		flags := formats[int(format)%len(formats)]
		args := []string{"diff", "--all"}
		for i, in := range [][]byte{x, y} {
			path := filepath.Join(t.TempDir(), fmt.Sprint(i))
			writeRecording(t, path, eventtest.Events(in, began), kinds, began)
			args = append(args, path)
		}
		code, out, errs := orb8(t, nil, append(args, flags...)...)
		if code != 0 && !strings.Contains(errs, "it holds no events") {
			t.Errorf("exit code %d: %s", code, errs)
		}
		harmless(t, out+errs)
		readable(t, strings.Join(flags, " ")+" ", out, 0)
	})
}

func BenchmarkDiff_MillionEvents(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.orb8")
	w, err := history.Create(path, history.Session{Version: "v9", Kinds: []string{"flow"}, Started: began})
	if err != nil {
		b.Fatal(err)
	}
	ev := rollout(false)[0]
	for i := range 1_000_000 {
		f := ev.GetFlow()
		f.Id, ev.Time = fmt.Sprintf("%016x", i%100_000), uint64(began.UnixNano()+int64(i)*60_000)
		f.Dst.Service, f.Phase = fmt.Sprint("s", i%1000), event.Phase_PHASE_UPDATE
		f.SrcCounters.BytesSent = uint64(i)
		if err := w.Write(ev); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if code := Main([]string{"diff", path, path}, strings.NewReader(""), new(strings.Builder),
			new(strings.Builder)); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
}
