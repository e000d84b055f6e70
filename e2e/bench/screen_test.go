//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
)

const (
	// live is how many flows a recording has.
	live = 100_000
	// perSecond is how many of its events there are a second.
	perSecond = 20_000
)

// flows writes a recording of live flows with so many events, and returns its path. The events are updates of the flows
// in turn.
func flows(t *testing.T, namespace string, events int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flows.orb8")
	start := time.Now()
	w, err := history.Create(path, history.Session{
		Version: "bench", Kinds: []string{"flow", "tcp"}, Targets: "made flows", Namespace: namespace, Started: start,
	})
	if err != nil {
		t.Fatal(err)
	}
	rtt := uint32(120)
	for i := range events {
		n := i % live
		phase := event.Phase_PHASE_UPDATE
		if i < live {
			phase = event.Phase_PHASE_NEW
		}
		end := func(name string, of int) *event.Endpoint {
			return &event.Endpoint{
				Namespace: namespace, Pod: fmt.Sprintf("%s-%03d", name, of), Container: "main", Workload: "deploy/" +
					name, Node: fmt.Sprintf("node-%d", of%8), Comm: name,
				Port: 8080, Address: []byte{10, 1, byte(of >> 8), byte(of)},
			}
		}
		src, dst := end("web", n%500), end("db", n%40)
		sent := uint64(i/live+1) * uint64(100+n%1000)
		ev := &event.Event{
			Time: uint64(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond)).UnixNano()),
			Node: src.Node, Namespace: namespace, Pod: src.Pod,
			Kind: &event.Event_Flow{Flow: &event.Flow{
				Id: fmt.Sprintf("%016x", n), Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, Src: src, Dst: dst,
				StartTime:   uint64(start.UnixNano()),
				SrcCounters: &event.Counters{BytesSent: sent, BytesReceived: 3 * sent, SrttMicros: &rtt},
				DstCounters: &event.Counters{BytesSent: 3 * sent, BytesReceived: sent},
			}},
		}
		if err := w.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplay_OfAMillionEvents replays them as fast as possible.
func TestReplay_OfAMillionEvents(t *testing.T) {
	e := need(t)
	path := flows(t, "bench", 1_000_000)
	for what, args := range map[string][]string{"as a table of top": {"--top", "network"},
		"as JSON": {"-o", "json"}} {
		calm(t)
		cmd := exec.Command("../../bin/kubectl-orb8", append([]string{"replay", path}, args...)...)
		cmd.Env = e.Environ(e.Kubeconfig)
		start := time.Now()
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		row(t, "replay of 1,000,000 events of 100,000 flows, "+what, fmt.Sprintf("%.1f s", time.Since(start).Seconds()),
			"≤ 5 s")
	}
}

// TestDiff_OfAMillionEvents compares two recordings of as many events each.
func TestDiff_OfAMillionEvents(t *testing.T) {
	e := need(t)
	path := flows(t, "bench", 1_000_000)
	calm(t)
	cmd := exec.Command("../../bin/kubectl-orb8", "diff", path, path)
	cmd.Env = e.Environ(e.Kubeconfig)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start).Seconds()
	memory := float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024 // KiB
	row(t, "diff of two recordings of 1,000,000 events of 100,000 flows each", fmt.Sprintf("%.1f s", took), "≤ 10 s")
	row(t, "its memory (RSS)", fmt.Sprintf("%.0f MiB", memory), "≤ 150 MiB")
}

// TestAdvise_OfAMillionEvents makes policies of a recording's workloads, which the cluster has the labels of.
func TestAdvise_OfAMillionEvents(t *testing.T) {
	e := need(t)
	ns := e.Namespace(t, nil)
	for _, name := range []string{"web", "db"} {
		e.Deployment(t, ns, name, 0, "idle")
	}
	path := flows(t, ns, 1_000_000)
	calm(t)
	cmd := exec.Command("../../bin/kubectl-orb8", "advise", "networkpolicy", "--from", path, "-n", ns)
	cmd.Env = e.Environ(e.Kubeconfig)
	var notes bytes.Buffer
	cmd.Stderr = &notes
	start := time.Now()
	out, err := cmd.Output()
	took := time.Since(start).Seconds()
	if policies := strings.Count(string(out), "kind: NetworkPolicy\n"); err != nil || policies != 2 {
		t.Fatalf("%v, %d policies, want 2:\n%s%s", err, policies, out, notes.String())
	}
	row(t, "policies of a recording of 1,000,000 events of 100,000 flows", fmt.Sprintf("%.1f s", took), "≤ 5 s")
}

// TestScreen_OfManyFlows shows 100,000 live flows on the screen, 20,000 of which change each second.
func TestScreen_OfManyFlows(t *testing.T) {
	e := need(t)
	path := flows(t, "bench", 45*perSecond)
	for _, group := range []string{"flow", "pod"} {
		x := e.Terminal(t, 200, 50, "replay", path, "--top", "network", "--group", group, "--window", "1m", "--speed",
			"1")
		x.Await(t, "all flows", func(screen string) bool { return strings.Contains(screen, "flows 100000") })
		pid := x.PID(t)
		before, start := cpuTime(t, pid), time.Now()
		var waits []float64
		for range 20 {
			for _, page := range []struct{ key, shows string }{{"1", "── rates"}, {"2", "RTT"}} {
				pressed := time.Now()
				x.Type(t, page.key)
				x.AwaitText(t, page.shows)
				waits = append(waits, time.Since(pressed).Seconds()*1000)
			}
		}
		for time.Since(start) < 12*time.Second {
			x.AwaitText(t, "flows 100000")
		}
		share := (cpuTime(t, pid) - before).Seconds() / time.Since(start).Seconds()
		row(t, fmt.Sprintf("screen of 100,000 live flows by %s, 20,000 events a second, share of one CPU", group),
			fmt.Sprintf("%.0f %%", 100*share), "≤ 50 %")
		row(t, "memory of the screen (RSS)", fmt.Sprintf("%.0f MiB", residentMiB(t, pid)), "≤ 150 MiB")
		row(t, "time from a key to the new page, tmux included (median of 40)",
			fmt.Sprintf("%.0f ms", median(waits)), "≤ 100 ms")
		x.Type(t, "q")
		x.Wait(t)
	}
}
