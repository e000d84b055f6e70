package tcp

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

func TestHashed_ForgetsClosedSockets(t *testing.T) {
	bpftest.HashedOnly(t)
	b := newHarness(t, Options{})
	for _, reset := range []bool{false, true} {
		for range 10 {
			p := b.connect("127.0.0.1")
			if n := bpftest.Kept(t, b.probe.objects.TcpState, "tcp_conns"); n < 3 {
				t.Fatalf("%d are kept of a listener and the two ends of a connection", n)
			}
			if reset {
				b.check(p.client.SetLinger(0))
			}
			b.check(p.client.Close())
			if _, err := p.server.Read(make([]byte, 1)); err == nil {
				t.Fatal("the connection goes on")
			}
			b.check(p.server.Close())
			b.check(p.listener.Close())
		}
	}
	// A socket may be destroyed some time after it was closed, by an acknowledgment.
	bpftest.AwaitNoneKept(t, b.probe.objects.TcpState, "tcp_conns", waitTimeout)
	bpftest.AwaitNoneKept(t, b.probe.objects.TcpState, "claims", waitTimeout)
}
