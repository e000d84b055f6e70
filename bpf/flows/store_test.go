package flows

import (
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestHashed_ForgetsClosedSockets(t *testing.T) {
	bpftest.HashedOnly(t)
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	const connections = 20
	for range connections {
		p := connect(tr, client, server, "127.0.0.1")
		if n := bpftest.Kept(t, tr.probe.objects.TcpState, "tcp_socks"); n < 3 {
			t.Fatalf("%d are kept of a listener and the two ends of a connection", n)
		}
		tr.check(p.client.Close())
		atEOF(tr, p.server)
		tr.check(p.server.Close())
		tr.check(p.listener.Close())
	}
	// A socket may be destroyed some time after it was closed, by an acknowledgment.
	bpftest.AwaitNoneKept(t, tr.probe.objects.TcpState, "tcp_socks", waitTimeout)
	bpftest.AwaitNoneKept(t, tr.probe.objects.PacketOut, "claims", waitTimeout)
	tr.flush()
	for name, c := range map[string]*bpftest.Cgroup{"client": client, "server": server} {
		if n := len(tr.of(c,
			func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED })); n != connections {
			t.Errorf("%s: %d of %d connections have closed", name, n, connections)
		}
	}
}

// TestHashed_ForgetsPacketSockets closes sockets whose packets are counted: scans remove what was kept of them.
func TestHashed_ForgetsPacketSockets(t *testing.T) {
	bpftest.Root(t)
	tr := newTrace(t, Options{Interval: 50 * time.Millisecond})
	if tr.probe.objects.PacketSocks.Type() != ebpf.Hash {
		t.Skip("this kernel's programs keep it in the sockets")
	}
	c := tr.wanted("client")
	c.Run(t, func() {
		server, err := net.ListenPacket("udp4", "127.0.0.1:0")
		tr.check(err)
		for range 20 {
			client, err := net.Dial("udp4", server.LocalAddr().String())
			tr.check(err)
			_, err = client.Write([]byte("x"))
			tr.check(err)
			tr.check(client.Close())
		}
		if n := bpftest.Kept(t, tr.probe.objects.PacketOut, "packet_socks"); n == 0 {
			t.Error("nothing is kept of a socket that is open")
		}
		tr.check(server.Close())
	})
	bpftest.AwaitNoneKept(t, tr.probe.objects.PacketOut, "packet_socks", waitTimeout)
	var used [5]int64
	tr.check(tr.probe.objects.ShareUsed.Get(&used))
	if used[2] != 0 {
		t.Errorf("%d places of sockets are taken", used[2])
	}
}
