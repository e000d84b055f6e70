package plugin

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
)

var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// recording makes a file of 10 lookups, a second after each other, and one loss.
func recording(t *testing.T, kinds ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.orb8")
	w, err := history.Create(path, history.Session{
		Version: "v9", Kinds: kinds, Targets: `pods in namespace "shop"`, Namespace: "shop", Started: began,
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func(second int, ev *event.Event) {
		ev.Time, ev.Node = uint64(began.Add(time.Duration(second)*time.Second).UnixNano()), "n1"
		if err := w.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		rcode := "NOERROR"
		if i == 7 {
			rcode = "SERVFAIL"
		}
		write(i, lookup("web", "n"+string(rune('0'+i))+".example.", rcode))
	}
	write(10, &event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Count: 3,
		Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Source: "dns"}}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// orb8 runs the plugin.
func orb8(t *testing.T, in []byte, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(args, bytes.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func TestReplay(t *testing.T) {
	path := recording(t, "dns")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) string {
		t.Helper()
		p := filepath.Join(t.TempDir(), "y.orb8")
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	newer := append([]byte(nil), whole...)
	newer[7] = 2
	for _, test := range []struct {
		name string
		args []string
		in   []byte
		code int
		// lines of stdout, names in it, and what stderr stderr.
		lines  int
		has    []string
		stderr []string
	}{
		{
			name: "a table", args: []string{path}, lines: 11, has: []string{"NAME", "n0.example.", "n9.example."},
			stderr: []string{`pods in namespace "shop", recorded from 2026-11-23T12:00:00Z on by kubectl orb8 v9`,
				"10 events from 1 node in 10s; LOST 3 at n1 (kernel-buffer, dns)\n"},
		},
		{name: "JSON", args: []string{path, "-o", "json"}, lines: 11,
			has: []string{`"kind":"dns"`, `"name":"n3.example."`, `"kind":"lost"`}},
		{name: "a filter", args: []string{path, "--filter", `rcode == "SERVFAIL"`, "--no-headers"}, lines: 1,
			has: []string{"n7.example."}, stderr: []string{"1 event from"}},
		{name: "from and to", args: []string{path, "--from", "3s", "--to", "2026-11-23T12:00:05Z", "--no-headers"},
			lines: 2, has: []string{"n3.", "n4."}},
		{name: "sorted", args: []string{path, "--sort-by", "-name", "--no-headers", "--to", "2s", "-o",
			"custom-columns=N:.name"}, lines: 2, has: []string{"n1.example.\nn0.example.\n"}},
		{name: "standard input", args: []string{"-"}, in: whole, lines: 11},
		{name: "loss", args: []string{path, "--fail-on-loss"}, lines: 11, code: ExitLost,
			stderr: []string{"error: events were lost"}},
		{name: "cut", args: []string{write(whole[:len(whole)-1])}, lines: 11, code: ExitError,
			stderr: []string{"error: replay", "damaged at byte", "what stands before is shown"}},
		{name: "no end", args: []string{write(whole[:len(whole)-endSize(t, whole)])}, lines: 11,
			stderr: []string{"has no end"}},
		{name: "foreign", args: []string{write([]byte("PK\x03\x04 something"))}, code: ExitError,
			stderr: []string{"it is no recording of kubectl orb8"}},
		{name: "empty", args: []string{write(nil)}, code: ExitError,
			stderr: []string{"it is no recording of kubectl orb8"}},
		{name: "newer", args: []string{write(newer)}, code: ExitError,
			stderr: []string{"version 2", "a newer one is needed"}},
		{name: "kinds of a newer version", args: []string{recording(t, "dns", "gravity")}, lines: 11,
			stderr: []string{`of the kind "gravity"`}},
		{name: "only such", args: []string{recording(t, "gravity")}, code: ExitError,
			stderr: []string{"holds no kind of event that this one knows"}},
		{name: "no such file", args: []string{"/nowhere/x"}, code: ExitError,
			stderr: []string{"/nowhere/x: no such file"}},
		{name: "no file", code: ExitUsage, stderr: []string{"want one file, got 0"}},
		{name: "a bad time", args: []string{path, "--from", "noon"}, code: ExitUsage,
			stderr: []string{`--from "noon": want`}},
		{name: "an empty span", args: []string{path, "--from", "3s", "--to", "3s"}, code: ExitUsage,
			stderr: []string{"--to 3s is not after --from 3s"}},
		{name: "a bad speed", args: []string{path, "--speed", "-1"}, code: ExitUsage,
			stderr: []string{"--speed -1: want 0 or more"}},
		{name: "no number", args: []string{path, "--speed", "NaN"}, code: ExitUsage, stderr: []string{"--speed NaN"}},
		{name: "a bad filter", args: []string{path, "--filter", "nme == 1"}, code: ExitUsage,
			stderr: []string{"--filter", "nme"}},
		{name: "a bad format", args: []string{path, "-o", "xml"}, code: ExitUsage, stderr: []string{"xml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errOut := orb8(t, test.in, append([]string{"replay"}, test.args...)...)
			if code != test.code || strings.Count(out, "\n") != test.lines {
				t.Errorf("exit code %d, %d lines; want %d, %d:\n%s\n%s", code, strings.Count(out, "\n"), test.code,
					test.lines, out, errOut)
			}
			for _, s := range test.has {
				if !strings.Contains(out, s) {
					t.Errorf("no %q in\n%s", s, out)
				}
			}
			for _, s := range test.stderr {
				if !strings.Contains(errOut, s) {
					t.Errorf("stderr lacks %q:\n%s", s, errOut)
				}
			}
		})
	}
}

// endSize is how long the last frame is, which stderr that the recording has ended.
func endSize(t *testing.T, b []byte) int {
	t.Helper()
	i := bytes.LastIndexByte(b[:len(b)-1], 'z')
	for ; i > 0; i = bytes.LastIndexByte(b[:i], 'z') {
		if bytes.HasPrefix(b[i:], []byte{'z', 0, 0, 0}) {
			return len(b) - i
		}
	}
	t.Fatal("no end")
	return 0
}

func TestReplayTakesItsTime(t *testing.T) {
	path := recording(t, "dns")
	start := time.Now()
	code, out, errOut := orb8(t, nil, "replay", path, "--speed", "50", "-o", "json")
	// 10 s, of which a fiftieth is 200 ms.
	if took := time.Since(start); code != 0 || took < 200*time.Millisecond || strings.Count(out, "\n") != 11 {
		t.Errorf("exit code %d after %v:\n%s\n%s", code, took, out, errOut)
	}
	var first struct{ Pod, Namespace, Node string }
	if err := json.Unmarshal([]byte(out[:strings.IndexByte(out, '\n')]), &first); err != nil || first.Pod != "web" ||
		first.Namespace != "shop" || first.Node != "n1" {
		t.Errorf("%+v, %v", first, err)
	}
}

func TestReplayTop(t *testing.T) {
	path := recording(t, "dns")
	for _, c := range []struct {
		name      string
		args      []string
		code      int
		out, errs string
	}{
		{"all of it", []string{"--sort-by", "name", "--limit", "2", "-o", "custom-columns=N:name,Q:queries,F:failed"},
			0, "N            Q  F\nn0.example.  1  0\nn1.example.  1  0\nothers       8  1\n", "10 events"},
		{"by a group", []string{"--group", "type", "-o", "csv"}, 0, ",10,", ""},
		{"a part", []string{"--from", "6s", "--group", "pod", "-o", "custom-columns=Q:queries,F:failed",
			"--no-headers"}, 0, "4  1\n", ""},
		{"another topic", []string{"--top", "network"}, 2, "",
			"--top network is of flow and tcp events, the recording holds dns"},
		{"no topic", []string{"--top", "netork"}, 2, "", `did you mean "network"?`},
		{"no group", []string{"--group", "pdo"}, 2, "", `did you mean "pod"?`},
		{"no window", []string{"--window", "7s"}, 2, "", "--window 7s: want 10s, 1m, 5m, or 0"},
		{"no column", []string{"--sort-by", "queris"}, 2, "", `did you mean "queries"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := orb8(t, nil, append([]string{"replay", path, "--top", "dns"}, c.args...)...)
			if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
				t.Errorf("exit code %d:\n%s\n%s", code, out, errs)
			}
		})
	}
	if code, _, errs := orb8(t, nil, "replay", path, "--group", "pod"); code != 2 ||
		!strings.Contains(errs, "go with --top") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestReplayWhy(t *testing.T) {
	kept := func(kinds []string, events ...*event.Event) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "x.orb8")
		w, err := history.Create(path, history.Session{
			Version: "v9", Kinds: kinds, Targets: `pods in namespace "ml"`, Namespace: "ml",
			Started: time.Unix(1_790_000_000, 0),
		})
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
	events := append(gpuAt("node1", "busy", 100), gpuAt("node2", "idle", 0)...)
	all := kept([]string{"gpu", "resources", "flow"}, events...)
	for _, c := range []struct {
		name string
		args []string
		code int
		out  []string
		errs string
	}{
		{"text", []string{all, "--why", "gpu"}, 0, []string{
			"busy on node1, 1 GPU: consistent with work limited by GPU compute",
			"idle on node2, 1 GPU: consistent with an abandoned or waiting process", "received 0/s (flows)",
			"window      9s",
		}, `pods in namespace "ml", recorded from `},
		{"a part", []string{all, "--why", "gpu", "--from", "5s"}, 0, []string{"window      4s"}, ""},
		{"rows", []string{all, "--why", "gpu", "--filter", `verdict == "abandoned"`, "-o",
			"custom-columns=P:pod,V:verdict", "--no-headers"}, 0, []string{"idle  abandoned\n"}, ""},
		{"without flows", []string{kept([]string{"gpu", "resources"}, events...), "--why", "gpu"}, 0,
			[]string{"network     not seen"}, "note: the recording holds no flow events: what they tell is not known"},
		{"without a GPU", []string{kept([]string{"gpu", "resources"}, containerAt(1_790_000_000e9, "node1", "plain")),
			"--why", "gpu"}, 1, nil, "error: no GPU on the examined nodes: node1: no GPU was seen"},
		{"nothing in the time", []string{all, "--why", "gpu", "--from", "1h"}, 1, nil,
			`error: no pod was seen that matches pods in namespace "ml"`},
		{"of other events", []string{recording(t, "dns"), "--why", "gpu"}, 2, nil,
			"--why gpu is of gpu, resources, flow events, the recording holds dns"},
		{"of what is not judged", []string{all, "--why", "gp"}, 2, nil,
			`--why "gp": want pod or gpu (did you mean "gpu"?)`},
		{"with --top", []string{all, "--why", "gpu", "--top", "gpu"}, 2, nil, "--why and --top: want one of them"},
		{"with --window", []string{all, "--why", "gpu", "--window", "1m"}, 2, nil,
			"--from and --to say what --why looks at"},
		{"with a field that is not there", []string{all, "--why", "gpu", "--filter", `verdct == "cpu"`}, 2, nil,
			"verdct"},
		{"with an unknown output", []string{all, "--why", "gpu", "-o", "xml"}, 2, nil, "xml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := orb8(t, nil, append([]string{"replay"}, c.args...)...)
			for _, want := range c.out {
				if !strings.Contains(out, want) {
					t.Errorf("no %q", want)
				}
			}
			if code != c.code || !strings.Contains(errs, c.errs) || len(c.out) == 0 && out != "" {
				t.Errorf("exit code %d", code)
			}
			if t.Failed() {
				t.Logf("%s\n%s", out, errs)
			}
		})
	}
}

func lookup(pod, name, rcode string) *event.Event {
	return &event.Event{Namespace: "shop", Pod: pod, Kind: &event.Event_Dns{Dns: &event.Dns{
		Observed: event.Side_SIDE_SRC, Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Name: name, Rcode: rcode,
	}}}
}
