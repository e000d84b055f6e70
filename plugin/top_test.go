package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

func TestTop_UsageErrorsQuoteTheFlag(t *testing.T) {
	for want, args := range map[string][]string{
		`--group "pdo": want one of pod, container,`: {"network", "--group", "pdo"},
		`did you mean "question"?`:                   {"dns", "--group", "questoin"},
		"--limit -1: want 0 or more":                 {"network", "--limit", "-1"},
		"--count -2: want 1 or more":                 {"network", "--count", "-2"},
		"--once prints one table, --count 3":         {"network", "--once", "--count", "3"},
		`--graph "png": want one of dot, mermaid`:    {"network", "--graph", "png"},
		"--graph is an output of its own":            {"network", "--graph", "svg", "-o", "json"},
		"--window 100ms: want 1s or more":            {"network", "--once", "--window", "100ms"},
		`did you mean "bytesSent"?`:                  {"network", "--sort-by", "bytesSnt"},
		"unknown output":                             {"network", "-o", "xml"},
		`unknown field "rcodee"`:                     {"dns", "--filter", `rcodee == "x"`},
		`unknown command "gup"`:                      {"gup"},
		"unknown flag: --graph":                      {"dns", "--graph", "svg"},
		"--syscall: ":                                {"syscalls", "--syscall", "raed"},
	} {
		code, _, errs := orb8(t, nil, append([]string{"top"}, args...)...)
		if code != ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit code %d: %s\nwant … %s …", args, code, errs, want)
		}
	}
}

func TestTop_ScreenHasFixedWindows(t *testing.T) {
	c := &topConfig{rowConfig: &rowConfig{}}
	if err := c.setWindow(7*time.Second, true); err == nil ||
		!strings.Contains(err.Error(), "a screen has 10s, 1m, 5m") {
		t.Errorf("got %v", err)
	}
	for given, want := range map[time.Duration]time.Duration{0: 0, time.Minute: time.Minute} {
		if err := c.setWindow(given, true); err != nil || c.window != want {
			t.Errorf("%v: %v, %v", given, c.window, err)
		}
	}
	if err := c.setWindow(0, false); err != nil || c.window != screenWindow {
		t.Errorf("by default %v, %v", c.window, err)
	}
	c.count = 1
	if err := c.setWindow(0, false); err != nil || c.window != tableWindow {
		t.Errorf("a table by default %v, %v", c.window, err)
	}
}

func TestExport_WritesNewFile(t *testing.T) {
	t.Chdir(t.TempDir())
	topic := model.TopicByName("dns")
	rows := []*event.Event{{Kind: &event.Event_DnsTop{DnsTop: &event.DnsTop{Group: "question", Name: "a.",
		Queries: 3}}}}
	at := time.Date(2026, 11, 23, 15, 4, 5, 0, time.UTC)
	for format, want := range map[string]string{"json": `"queries":3`, "csv": ",a.,"} {
		name, err := export(topic, format, rows, at)
		if err != nil || name != "orb8-top-dns-20261123-150405."+format {
			t.Fatalf("%q, %v", name, err)
		}
		b, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := export(topic, format, rows, at); err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("a second one: %v", err)
		}
		if info, err := os.Stat(filepath.Clean(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

func TestLiveModel_CountsItsTimeOnly(t *testing.T) {
	flow := func(sent uint64) *event.Event {
		return &event.Event{Time: uint64(time.Now().UnixNano()), Namespace: "shop", Pod: "web",
			Kind: &event.Event_Flow{Flow: &event.Flow{Id: "f", Protocol: event.Protocol_PROTOCOL_TCP,
				Phase: event.Phase_PHASE_NEW, StartTime: uint64(time.Now().Add(-time.Hour).UnixNano()),
				Observed:    event.Side_SIDE_SRC,
				Src:         &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 1, Namespace: "shop", Pod: "web"},
				Dst:         &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 2},
				SrcCounters: &event.Counters{BytesSent: sent}}}}
	}
	for name, c := range map[string]struct {
		engine engine
		want   uint64
	}{
		"tracers": {&live.Session{}, 1500},
		// What an agent counted before the session is not of it.
		"agents": {&remote.Session{}, 500},
	} {
		m := liveModel(model.TopicByName("network"), c.engine)
		m.Add(flow(1000), time.Now())
		m.Add(flow(1500), time.Now())
		total := m.Rows(model.Query{Window: time.Minute}, time.Now()).Total
		if sent := total.Event.GetNetworkTop().GetBytesSent(); sent != c.want {
			t.Errorf("%s: %d bytes, want %d", name, sent, c.want)
		}
	}
}
