package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// networkRow is a row of top network.
type networkRow struct {
	Group, Name, Namespace, Pod, Workload                                                    string
	BytesSent, BytesReceived, Flows, Opened, Failed, WindowMicros, SentPerSecond, SrttMicros uint64
}

// TestTopNetwork compares a table of one window with what the pods did in it.
func TestTopNetwork(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp", ":7000",
			"-udp", ":7000"}})
	client, server := pods[0], pods[1]
	to := func(port uint16) string { return netip.AddrPortFrom(server.IP(t, false), port).String() }

	var recording string
	traces, window := withinWindow(t, 2, 10*time.Second, func(window time.Duration) []*kit.Trace {
		recording = filepath.Join(t.TempDir(), "top.orb8")
		tr := e.Trace(t, "top", "network", "-n", ns, "--once", "--window", window.String(), "-o", "json", "--record",
			recording)
		return []*kit.Trace{tr}
	}, func() {
		client.Exec(t, "tcp", "-to", to(7000), "-conns", "20", "-send", "1000", "-recv", "2000")
		client.Exec(t, "udp", "-to", to(7000), "-count", "30", "-size", "100")
		for range 3 {
			client.Exec(t, "connect", "-to", to(7999))
		}
	})
	tr := traces[0]
	tr.CheckSchema(t)
	var rows []networkRow
	tr.JQ(t, &rows, `map(select(.kind == "networkTop"))`)
	by := map[string]networkRow{}
	for _, r := range rows {
		by[r.Name] = r
	}
	c, s := by["client"], by["server"]
	if len(rows) != 2 || c.Group != "pod" || c.Namespace != ns {
		t.Errorf("%+v", rows)
	}
	if c.BytesSent != 20*1000+30*100 || c.BytesReceived < 20*2000 || c.Opened < 21 || c.Failed != 3 ||
		c.SrttMicros == 0 {
		t.Errorf("the client: %+v", c)
	}
	if s.BytesReceived != c.BytesSent || s.BytesSent != c.BytesReceived || s.Failed != 0 && s.Failed != 3 {
		t.Errorf("the server: %+v, the client: %+v", s, c)
	}
	replay := replayedRows(t, e, recording)
	for name, live := range by {
		live.WindowMicros, live.SentPerSecond = 0, 0
		if replay[name] != live {
			t.Errorf("live %+v, replayed %+v", live, replay[name])
		}
	}
	got, want := time.Duration(c.WindowMicros)*time.Microsecond, c.BytesSent/uint64(window.Seconds())
	if got < window*9/10 || got > window*12/10 || c.SentPerSecond < want*3/4 || c.SentPerSecond > want*11/10 {
		t.Errorf("of %s: %+v", window, c)
	}
}

// withinWindow starts traces of so many nodes that sum one window, acts in it once all stream, and waits for their end.
// If a busy machine takes so long that a window may have ended before the act, it tries again with twice the window, at
// most eight times the first. The windows begin one after the other.
func withinWindow(
	t *testing.T, nodes int, window time.Duration, start func(window time.Duration) []*kit.Trace, act func(),
) (traces []*kit.Trace, used time.Duration) {
	t.Helper()
	for longest := 8 * window; ; window *= 2 {
		traces = start(window)
		began := firstStreams(traces)
		for _, tr := range traces {
			tr.AwaitStreaming(t, nodes)
		}
		act()
		took := time.Since(began)
		for _, tr := range traces {
			if code := tr.Wait(t); code != 0 {
				t.Fatalf("exit code %d:\n%s", code, tr.Stderr())
			}
		}
		switch {
		case took < window*8/10:
			return traces, window
		case window >= longest:
			t.Fatalf("the act took %s of a window of %s", took, window)
		}
	}
}

// firstStreams waits until the first of several traces streams, or one has waited too long for it, and returns when.
func firstStreams(traces []*kit.Trace) time.Time {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		now := time.Now() // earlier than what is read then
		for _, tr := range traces {
			if strings.Contains(tr.Stderr(), " streaming\n") || now.After(deadline) {
				return now
			}
		}
	}
}

// replayedRows returns the rows of a recording by name. Fields that depend on the length of the window are 0.
func replayedRows(t *testing.T, e *kit.Env, recording string) map[string]networkRow {
	t.Helper()
	tr := e.Trace(t, "replay", recording, "--top", "network", "-o", "json")
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, tr.Stderr())
	}
	var rows []networkRow
	tr.JQ(t, &rows, `map(select(.kind == "networkTop"))`)
	by := map[string]networkRow{}
	for _, r := range rows {
		r.WindowMicros, r.SentPerSecond = 0, 0
		by[r.Name] = r
	}
	return by
}

// TestTopCounts compares the queries and system calls of a pod with the rows of top dns and top syscalls.
func TestTopCounts(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	client := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]})[0]

	traces, _ := withinWindow(t, 1, 6*time.Second, func(window time.Duration) []*kit.Trace {
		dns := e.Trace(t, "top", "dns", "-n", ns, "--count", "1", "--window", window.String(), "-o", "json",
			"--sort-by=-nxdomain")
		calls := e.Trace(t, "top", "syscalls", "-n", ns, "--once", "--window", window.String(), "--limit", "1",
			"--sort-by", "-calls", "-o", "custom-columns=name,calls")
		return []*kit.Trace{dns, calls}
	}, func() {
		for range 3 {
			client.Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-network", "ip4")
			client.Exec(t, "dns", "-name", "nothing.invalid.", "-network", "ip4", "-missing")
		}
		client.Exec(t, "syscalls", "-getppid", "100000")
	})
	dns, calls := traces[0], traces[1]
	var names []struct {
		Name              string
		Queries, Nxdomain uint64
		P50Micros         *uint64
	}
	dns.JQ(t, &names, `map(select(.kind == "dnsTop"))`)
	if len(names) != 2 || names[0].Name != "nothing.invalid." || names[0].Queries != 3 || names[0].Nxdomain != 3 ||
		names[1].Queries != 3 || names[1].P50Micros == nil {
		t.Errorf("%+v", names)
	}
	b, err := os.ReadFile(calls.Output)
	if err != nil {
		t.Fatal(err)
	}
	out := string(b)
	var name string
	var n int
	if _, err := fmt.Sscanf(out, "NAME CALLS\n%s %d", &name, &n); err != nil || name != "getppid" || n != 100_000 {
		t.Errorf("%q: %v", out, err)
	}
}
