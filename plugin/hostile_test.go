package plugin

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
)

// TestReplay_HostileFiles replays recordings that once ended the program: files of strangers that another file's
// checksums do not protect from.
func TestReplay_HostileFiles(t *testing.T) {
	for _, test := range []struct {
		file string
		args []string
		want string // on stderr
	}{
		{"parent-cycle", []string{"--why", "gpu"}, "1 event refused (first: gpuDevice.parent: is the device itself)"},
		{"parent-cycle", []string{"--top", "gpu", "-o", "json"}, "1 event refused"},
		{"parent-cycle", []string{"-o", "json"}, "LOST 1 at recording (decode)"},
		{"negative-time", []string{"--top", "network"}, "1 event refused (first: time: before 1970"},
		{"negative-time", []string{"-o", "json"}, "LOST 1 at recording (decode)"},
		{"negative-time", []string{"--fail-on-loss"}, "LOST 1 at recording (decode)"},
	} {
		t.Run(test.file+" "+strings.Join(test.args, " "), func(t *testing.T) {
			file := filepath.Join("testdata", test.file+".orb8")
			code, out, errOut := orb8(t, nil, append([]string{"replay", file}, test.args...)...)
			if want := map[bool]int{true: ExitLost}[test.args[0] == "--fail-on-loss"]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			if !strings.Contains(errOut, test.want) {
				t.Errorf("stderr lacks %q:\n%s", test.want, errOut)
			}
			if strings.ContainsAny(out+errOut, "\x1b\u202e") {
				t.Errorf("escapes reach the terminal: %q %q", out, errOut)
			}
		})
	}
}

// TestReplay_SkipsRefusedEvents has events that no tracer may send among those of one that is honest.
func TestReplay_SkipsRefusedEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.orb8")
	w, err := history.Create(path, history.Session{Version: "v9", Kinds: []string{"dns"}, Started: began})
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	write := func(ev *event.Event) {
		if ev.Time == 0 {
			ev.Time = uint64(began.Add(time.Second).UnixNano())
		}
		if err := w.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	for _, ev := range []*event.Event{
		{Kind: &event.Event_GpuVerdict{GpuVerdict: &event.GpuVerdict{Words: "forged"}}},
		{Kind: &event.Event_NetworkTop{NetworkTop: &event.NetworkTop{Name: "forged"}}},
		{Kind: &event.Event_Flow{Flow: &event.Flow{Id: "forged"}}}, // not asked for
		{Time: math.MaxUint64, Kind: &event.Event_Dns{Dns: &event.Dns{Name: "forged."}}},
		{Kind: &event.Event_Dns{Dns: &event.Dns{Name: "forged." + strings.Repeat("a", 1<<20)}}},
		{Kind: &event.Event_Dns{Dns: &event.Dns{Name: "forged.", Src: &event.Endpoint{Port: 1 << 20}}}},
	} {
		write(ev)
		write(lookup("web", "honest.example.", "NOERROR"))
		bad++
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := orb8(t, nil, "replay", path, "-o", "json")
	if code != 0 || !strings.Contains(errOut, "6 events refused") || !strings.Contains(errOut, "6 events from") {
		t.Errorf("exit code %d:\n%s", code, errOut)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != bad || strings.Contains(out, "forged") {
		t.Fatalf("%d lines, want %d:\n%.2000s", len(lines), bad, out)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

func TestReplay_BoundsTheSession(t *testing.T) {
	for name, s := range map[string]history.Session{
		"kinds": {Kinds: strings.Split(strings.Repeat("x,", 1000)+"dns", ",")},
		"text":  {Kinds: []string{"dns"}, Targets: strings.Repeat("x", 1<<20)},
	} {
		path := filepath.Join(t.TempDir(), "x.orb8")
		w, err := history.Create(path, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		code, _, errOut := orb8(t, nil, "replay", path)
		if code != ExitError || len(errOut) > 1000 || strings.Count(errOut, "\n") != 1 ||
			!strings.Contains(errOut, "limit") {
			t.Errorf("%s: exit code %d: %d bytes, %.300s", name, code, len(errOut), errOut)
		}
	}
}
