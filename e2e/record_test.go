package e2e

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestRecordAndReplay compares the output of a replay with that of the trace, line by line, also for a recording of a
// killed trace.
func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp",
			":7000-7009"}},
	)
	to := netip.AddrPortFrom(pods[1].IP(t, false), 7001).String()
	// replay runs without a kubeconfig, since it needs no cluster.
	replay := func(args ...string) (code int, out, errOut string) {
		t.Helper()
		cmd := exec.Command("../bin/kubectl-orb8", append([]string{"replay"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG=/nowhere")
		var o, er bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &er
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), o.String(), er.String()
	}
	dir := t.TempDir()

	whole := filepath.Join(dir, "whole.orb8")
	tr := e.Trace(t, "trace", "network,tcp", "-n", ns, "-o", "json", "--record", whole)
	tr.AwaitStreaming(t, 2)
	pods[0].Exec(t, "tcp", "-to", to, "-conns", "50", "-send", "1000", "-recv", "2000")
	tr.AwaitLines(t, 50)
	tr.Stop(t)
	live, err := os.ReadFile(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	code, out, errOut := replay(whole, "-o", "json")
	if code != 0 || out != string(live) {
		t.Errorf("exit code %d, %d lines; the trace had %d:\n%s", code, strings.Count(out, "\n"),
			bytes.Count(live, []byte("\n")), errOut)
	}
	if !strings.Contains(tr.Stderr(), "recorded ") || !strings.Contains(errOut, "events from 2 nodes") {
		t.Errorf("the trace prints\n%s\nthe replay\n%s", tr.Stderr(), errOut)
	}
	if code, out, errOut = replay(whole, "--filter", `kind == "tcp" && outcome == "connected"`,
		"--no-headers"); code != 0 || strings.Count(out, "\n") != 50 || !strings.Contains(out, "->server:7001") {
		t.Errorf("exit code %d:\n%s\n%s", code, out, errOut)
	}

	killed := filepath.Join(dir, "killed.orb8")
	tr = e.Trace(t, "trace", "network,tcp", "-n", ns, "-o", "json", "--record", killed)
	tr.AwaitStreaming(t, 2)
	// The file is written every second, and can be replayed while it grows.
	for held := 0; held < 20; {
		n := tr.Lines(t)
		pods[0].Exec(t, "tcp", "-to", to, "-conns", "20", "-send", "1000", "-recv", "2000")
		tr.AwaitLines(t, n+20)
		_, out, _ = replay(killed, "-o", "json")
		held = strings.Count(out, "\n")
	}
	tr.Signal(t, syscall.SIGKILL)
	tr.Wait(t)
	if live, err = os.ReadFile(tr.Output); err != nil {
		t.Fatal(err)
	}
	code, out, errOut = replay(killed, "-o", "json")
	shorter, longer := out, string(live)
	if len(shorter) > len(longer) {
		shorter, longer = longer, shorter
	}
	// The last line may be partial.
	shorter = shorter[:strings.LastIndexByte(shorter, '\n')+1]
	if code != 0 || strings.Count(shorter, "\n") < 20 || !strings.HasPrefix(longer, shorter) ||
		!strings.Contains(errOut, "has no end") {
		t.Errorf("exit code %d, %d lines; the trace had %d:\n%s", code, strings.Count(out, "\n"),
			bytes.Count(live, []byte("\n")), errOut)
	}

	// An existing file is not overwritten, and no trace starts.
	tr = e.Trace(t, "trace", "network", "-n", ns, "--record", whole)
	if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), "the file exists") {
		t.Errorf("exit code %d:\n%s", code, tr.Stderr())
	}
}
