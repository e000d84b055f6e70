package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// longLived checks that a live table of installed agents, too, counts what happens in its window only: not what a
// connection has sent before.
func longLived(t *testing.T, e *kit.Env, ns string, client *kit.Pod, to string) {
	const half = 500_000
	load := client.Start(t, "tcp", "-to", to, "-send", strconv.Itoa(2*half), "-recv", "1000", "-hold")
	half1 := fmt.Sprintf(`map(select(.kind == "flow" and .bytesSent >= %d and .phase != "closed")) | length > 0`, half)
	tr := e.TraceAs(t, e.Kubeconfig, "trace", "network", "client", "-n", ns, "-o", "json", "--mode", "cluster")
	tr.AwaitJQ(t, half1)
	tr.Stop(t)
	tr = e.TraceAs(t, e.Kubeconfig, "top", "network", "-n", ns, "--once", "--window", "3s", "-o", "json", "--mode",
		"cluster")
	tr.Wait(t)
	var sent uint64
	tr.JQ(t, &sent, `map(select(.kind == "networkTop").bytesSent) | add // 0`)
	if sent >= half {
		t.Errorf("a window of 3 s has %d bytes, that were sent before:\n%s", sent, tr.Stderr())
	}
	load.Resume(t)
	load.Wait(t)
}

// since sums up what agents have recorded, and asks for what they have not.
func since(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	pod, to := clientAndServer(t, e, ns, ns, "-tcp", ":7000")
	pod.Exec(t, "tcp", "-to", to.String(), "-conns", "5", "-send", "1000", "-recv", "2000")
	var rows []struct {
		Name                             string
		BytesSent, BytesReceived, Opened uint64
		WindowMicros                     uint64
	}
	// The last events of the flows are recorded within an interval of the agents.
	for deadline := time.Now().Add(20 * time.Second); ; {
		tr := e.TraceAs(t, e.Kubeconfig, "top", "network", "-n", ns, "--since", "1m", "-o", "json")
		if code := tr.Wait(t); code != 0 {
			t.Fatalf("top --since exits with %d:\n%s", code, tr.Stderr())
		}
		tr.JQ(t, &rows, `map(select(.kind == "networkTop")) | sort_by(.name)`)
		if len(rows) == 2 && rows[0].BytesSent == 5000 && rows[1].BytesSent == 10000 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("5 connections came to %+v:\n%s", rows, tr.Stderr())
		}
	}
	client, server := rows[0], rows[1]
	if client.Name != "client" || client.Opened != 5 || client.BytesReceived != 10000 || server.Name != "server" ||
		server.BytesReceived != 5000 || client.WindowMicros > uint64(time.Minute/time.Microsecond) {
		t.Errorf("5 connections came to %+v", rows)
	}
	longLived(t, e, ns, pod, to.String())
	for _, c := range []struct {
		code int
		args string
		want string
	}{
		{1, "top syscalls --since 1m", "the installed agents do not record syscallSummary"},
		{1, "why gpu --since 1m", "no GPU on the examined nodes"},
		{2, "top network --since 1m --mode=ephemeral", "kubectl orb8 install installs them"},
		{1, "top network --since 1m --orb8-namespace " + ns, "--since needs the agents of kubectl orb8 install"},
	} {
		if out := run(t, e, e.Kubeconfig, c.code, append(strings.Fields(c.args), "-n", ns)...); !strings.Contains(out,
			c.want) {
			t.Errorf("%s: no %q in:\n%s", c.args, c.want, out)
		}
	}
}
