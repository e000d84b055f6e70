package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestSocketDrops sends to a socket that nobody reads and to closed ports of a pod's loopback device. Received and
// dropped datagrams add up to the sent ones. Drops on the pod's loopback have the pod's name, unlike those on the
// node's.
func TestSocketDrops(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1]},
		kit.PodSpec{Namespace: ns, Name: "host", Node: e.Nodes[1], HostNetwork: true})
	client, server, host := pods[0], pods[1], pods[2]
	tr := e.Trace(t, "trace", "network,drops", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)
	const (
		sent, size = 200, 300
		closed     = 9
	)
	for _, v6 := range []bool{false, true} {
		port := uint16(7100)
		if v6 {
			port++
		}
		reader := server.Start(t, "slowreader", "-listen", fmt.Sprintf(":%d", port))
		reader.Next(t)
		to := netip.AddrPortFrom(server.IP(t, v6), port)
		client.Exec(t, "udp", "-to", to.String(), "-count", fmt.Sprint(sent), "-size", fmt.Sprint(size))
		reader.Resume(t)
		read := reader.Wait(t)[0]
		if read.DatagramsReceived == 0 || read.DatagramsReceived == sent {
			t.Fatalf("the program got %d of %d datagrams, want some of them", read.DatagramsReceived, sent)
		}
		checkFullSocket(t, tr, port, read.DatagramsReceived, read.BytesReceived, sent)
	}
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		for _, pod := range []*kit.Pod{host, server} {
			to := netip.AddrPortFrom(netip.MustParseAddr(loopback), closed)
			pod.Exec(t, "udp", "-to", to.String(), "-count", "25", "-size", "100")
		}
		checkLoopbackDrop(t, tr, ns, loopback, "udp", closed, 25)
	}
	if r := server.Exec(t, "connect", "-to", fmt.Sprintf("127.0.0.1:%d", closed)); r[0].Error != "ECONNREFUSED" {
		t.Errorf("the attempt to connect gave %+v, want ECONNREFUSED", r)
	}
	checkLoopbackDrop(t, tr, ns, "127.0.0.1", "tcp", closed, 1)
	tr.Stop(t)
	tr.CheckSchema(t)
}

// checkFullSocket compares the flow to a port, observed at both ends, with the datagrams that the server has read.
func checkFullSocket(t *testing.T, tr *kit.Trace, port uint16, datagrams, bytes, sent uint64) {
	t.Helper()
	const flow = `map(select(.kind == "flow" and .dst.port == ($port | tonumber))) | last`
	tr.AwaitJQ(t, flow+` | .phase == "closed" and .dst.packetsReceived != null and .src.packetsSent != null`,
		"--arg", "port", fmt.Sprint(port))
	var got struct {
		PacketsSent, PacketsReceived, BytesReceived, Dropped *uint64
		Pod                                                  string
	}
	tr.JQ(t, &got, flow+` | {packetsSent: .src.packetsSent, packetsReceived: .dst.packetsReceived,
		bytesReceived: .dst.bytesReceived, dropped: .dst.dropped, pod: .dst.pod}`, "--arg", "port", fmt.Sprint(port))
	equal(t, "src.packetsSent", got.PacketsSent, sent)
	equal(t, "dst.packetsReceived", got.PacketsReceived, datagrams)
	equal(t, "dst.bytesReceived", got.BytesReceived, bytes)
	equal(t, "dst.dropped", got.Dropped, sent-datagrams)
	if got.Pod != "server" {
		t.Errorf("port %d: dst.pod is %q, want server", port, got.Pod)
	}
}

// checkLoopbackDrop compares the drops at a port of the server pod's loopback device with the packets sent there.
func checkLoopbackDrop(t *testing.T, tr *kit.Trace, ns, address, protocol string, port, packets int) {
	t.Helper()
	const drops = `map(select(.kind == "drop" and .dst.address == $to and .dst.port == ($port | tonumber) and
		.protocol == $protocol))`
	args := []string{"--arg", "to", address, "--arg", "port", fmt.Sprint(port), "--arg", "protocol", protocol}
	tr.AwaitJQ(t, drops+` | map(.packets) | max == ($packets | tonumber)`,
		append(args, "--arg", "packets", fmt.Sprint(packets))...)
	type end struct{ Namespace, Pod string }
	var got []struct {
		Namespace, Pod, Device, Cause, Observed string
		Container                               *string
		Src, Dst                                end
	}
	tr.JQ(t, &got, drops+` | group_by(.id) | map(last)`, args...)
	if len(got) != 1 {
		t.Errorf("%s to %s: %+v, want one drop: of the pod, and none of the node's own network", protocol, address, got)
		return
	}
	d, want := got[0], end{ns, "server"}
	if d.Namespace != ns || d.Pod != "server" || d.Src != want || d.Dst != want ||
		d.Device != "lo" || d.Cause != "no-socket" || d.Observed != "dst" {
		t.Errorf("%s to %s: %+v, want a drop on lo of the pod server, from itself", protocol, address, d)
	}
	if d.Container != nil {
		t.Errorf("%s to %s: the container is %q, though the network is the pod's", protocol, address, *d.Container)
	}
}
