package e2e

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestDrops sends known numbers of datagrams that are dropped, and compares their number, cause and reason.
func TestDrops(t *testing.T) {
	t.Parallel()
	drops(t, kit.NeedOwn(t))
}

func drops(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-udp",
			":7000"}})
	client, server := pods[0], pods[1]
	// Both nodes share this machine's kernel, which drops each packet once, so trace one end only.
	tr := e.Trace(t, "trace", "drops", "server", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 1)

	const nobody, forbidden = 7999, 7000
	send := func(to netip.Addr, port uint16, count int) {
		t.Helper()
		client.Exec(t, "udp", "-to", netip.AddrPortFrom(to, port).String(), "-count", strconv.Itoa(count), "-size",
			"200")
	}
	v4, v6 := server.IP(t, false), server.IP(t, true)
	send(v4, nobody, 25)
	send(v6, nobody, 35)
	e.Firewall(t, server.Spec.NodeName, fmt.Sprintf("ip daddr %s udp dport %d drop", v4, forbidden))
	send(v4, forbidden, 15)
	wants := []struct {
		to            netip.Addr
		port          uint16
		packets       int
		bytes         int
		cause, reason string
	}{
		{v4, nobody, 25, 25 * 228, "no-socket", "NO_SOCKET"},
		{v6, nobody, 35, 35 * 248, "no-socket", "NO_SOCKET"},
		{v4, forbidden, 15, 15 * 228, "policy", "NETFILTER_DROP"},
	}
	const dropsTo = `map(select(.kind == "drop" and .dst.address == $to and .dst.port == ($port | tonumber)))`
	for _, want := range wants {
		tr.AwaitJQ(t, dropsTo+` | map(.packets) | max == ($packets | tonumber)`,
			"--arg", "to", want.to.String(), "--arg", "port", strconv.Itoa(int(want.port)), "--arg", "packets",
			strconv.Itoa(want.packets))
	}
	tr.Stop(t)

	type drop struct {
		Pod, Node, Observed, Protocol, Cause, Reason, Location string
		Packets, Bytes                                         int
		Src, Dst                                               struct{ Pod, Namespace string }
	}
	for _, want := range wants {
		var got []drop
		tr.JQ(t, &got, dropsTo+` | group_by(.id) | map(last)`,
			"--arg", "to", want.to.String(), "--arg", "port", strconv.Itoa(int(want.port)))
		if len(got) != 1 {
			t.Errorf("%s:%d: %+v, want one drop", want.to, want.port, got)
			continue
		}
		d := got[0]
		if d.Location == "" || d.Packets != want.packets || d.Bytes != want.bytes || d.Cause != want.cause ||
			d.Reason != want.reason {
			t.Errorf("%s:%d: %+v, want %+v", want.to, want.port, d, want)
		}
		if d.Pod != "server" || d.Node != e.Nodes[1] || d.Observed != "dst" || d.Protocol != "udp" ||
			d.Src.Pod != "client" || d.Dst.Pod != "server" || d.Src.Namespace != ns {
			t.Errorf("%s:%d: %+v has wrong names", want.to, want.port, d)
		}
	}
	tr.CheckSchema(t)
}
