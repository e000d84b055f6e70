package flows

import (
	"testing"

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
