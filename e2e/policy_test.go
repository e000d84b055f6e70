package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestPolicy drops the SYNs of one connection, but not those of another, by a firewall on the server's node, like an
// implementation of NetworkPolicy. The trace shows how each ended, and which packets were dropped.
func TestPolicy(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp",
			":7000-7001"}},
	)
	client, server := pods[0], pods[1]
	tr := e.Trace(t, "trace", "tcp,drops", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)

	to := server.IP(t, false)
	const denied, allowed = 7000, 7001
	e.Firewall(t, server.Spec.NodeName, fmt.Sprintf("ip daddr %s tcp dport %d drop", to, denied))
	connect := func(port uint16, wants string) {
		t.Helper()
		if r := client.Exec(t, "connect", "-to", netip.AddrPortFrom(to, port).String(), "-syn-retries",
			"1")[0]; r.Error != wants {
			t.Fatalf("port %d: the program got %q, want %q", port, r.Error, wants)
		}
	}
	connect(denied, "ETIMEDOUT")
	connect(allowed, "")
	tr.Stop(t)

	events := ofPort(t, tr, "client", denied)
	if got, want := story(events), "timeout for unacknowledged, ETIMEDOUT"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	timeout := events[len(events)-1]
	if timeout.SynRetransmits == nil || *timeout.SynRetransmits == 0 {
		t.Fatalf("%+v, want retransmitted SYNs", timeout)
	}
	// The drop has the same 5-tuple as the connection.
	var drops []struct {
		Pod, Node, Cause, Reason string
		Packets                  int
		Src, Dst                 struct{ Pod, Namespace string }
	}
	tr.JQ(t, &drops,
		`map(select(.kind == "drop" and .protocol == "tcp" and
			.src.port == ($src | tonumber) and .dst.port == ($dst | tonumber))) | group_by(.id) | map(last)`,
		"--arg", "src", fmt.Sprint(*timeout.Src.Port), "--arg", "dst", fmt.Sprint(denied))
	if len(drops) != 1 {
		t.Fatalf("%+v, want one drop", drops)
	}
	d := drops[0]
	if d.Cause != "policy" || d.Reason != "NETFILTER_DROP" || d.Packets != 1+*timeout.SynRetransmits ||
		d.Src.Pod != "client" || d.Dst.Pod != "server" || d.Src.Namespace != ns || d.Pod != "server" ||
		d.Node != e.Nodes[1] {
		t.Errorf("%+v, want all %d SYNs from client to server", d, 1+*timeout.SynRetransmits)
	}
	if got, want := story(ofPort(t, tr, "client", allowed)), "connected; closed, closed by local"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var others int
	tr.JQ(t, &others, `map(select(.kind == "drop" and .dst.port == ($dst | tonumber))) | length`, "--arg", "dst",
		fmt.Sprint(allowed))
	if others != 0 {
		t.Errorf("%d drops of the allowed connection", others)
	}
}
