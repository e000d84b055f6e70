package flows

import (
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// olderOnly skips the test where what is kept for a socket goes with it by itself.
func olderOnly(t *testing.T) {
	t.Helper()
	bpftest.Root(t)
	if !bpftest.Older(t) {
		t.Skip("this kernel has storage of sockets in tracing programs")
	}
}

func TestOnOlderKernelsNothingIsKeptForSocketsThatAreGone(t *testing.T) {
	olderOnly(t)
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	const connections = 20
	for range connections {
		p := connect(tr, client, server, "127.0.0.1")
		if n := count(tr, tr.probe.objects.TcpSocks); n < 3 {
			t.Fatalf("%d are kept of a listener and the two ends of a connection", n)
		}
		p.client.Close()
		atEOF(tr, p.server)
		p.server.Close()
		p.listener.Close()
	}
	// A socket may be destroyed some time after it was closed, by an acknowledgment.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n := count(tr, tr.probe.objects.TcpSocks)
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets are still kept", n)
		}
	}
	tr.flush()
	for name, c := range map[string]*bpftest.Cgroup{"client": client, "server": server} {
		if n := len(tr.of(c, func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED })); n != connections {
			t.Errorf("%s: %d of %d connections have closed", name, n, connections)
		}
	}
}

func TestOnOlderKernelsSocketsThatFindNoRoomAreCounted(t *testing.T) {
	olderOnly(t)
	const room = 4
	tr := newTrace(t, Options{MaxFlows: room})
	client, server := tr.wanted("client"), tr.wanted("server")
	for range room {
		connect(tr, client, server, "127.0.0.1")
	}
	// Of each the listener and both ends; the kernel tries for the listener's end twice.
	if n := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP); n < 2*room {
		t.Errorf("%d are lost of %d sockets in room for %d", n, 3*room, room)
	}
	tr.flush()
	if n := count(tr, tr.probe.objects.TcpSocks); n != room {
		t.Errorf("%d are kept in room for %d", n, room)
	}
}
