package tcp

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// counted is how many sockets of a cgroup are counted.
func (b *harness) counted(c *bpftest.Cgroup) int64 {
	b.Helper()
	return bpftest.Held(b, b.probe.objects.Shares, c, 0)
}

// connections opens connections within a cgroup: two sockets each, and a listener.
func (b *harness) connections(in *bpftest.Cgroup, n int) (all []io.Closer) {
	b.Helper()
	in.Run(b.T, func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		b.check(err)
		all = append(all, l)
		for range n {
			c, err := net.Dial("tcp", l.Addr().String())
			b.check(err)
			s, err := l.Accept()
			b.check(err)
			all = append(all, c, s)
		}
	})
	return all
}

func closeAll(all []io.Closer) {
	for _, c := range all {
		c.Close()
	}
}

func (b *harness) awaitNoneHeld(c *bpftest.Cgroup) {
	b.Helper()
	for deadline := time.Now().Add(waitTimeout); b.counted(c) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d sockets are counted, and none is left", b.counted(c))
		}
	}
}

func TestSockets_FloodLeavesRoomForOthers(t *testing.T) {
	const room, many, few = 200, 300, 3
	b := newHarness(t, Options{MaxSockets: room})
	flooded := b.connections(b.client, many)
	defer func() { closeAll(flooded) }()
	if n := b.counted(b.client); n < room || n > room+room/4 {
		t.Errorf("the flood holds %d sockets in room for %d and a reserve of %d", n, room, room/4)
	}
	calls := b.connections(b.server, few)
	b.flush()
	var gone uint64
	for _, l := range b.probe.Lost() {
		if l.Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP || l.Cgroup != b.client.ID {
			t.Errorf("another than the flood lost: %+v", l)
		}
		gone += l.Count
	}
	// That a connection was made is an event of each end.
	if n := len(b.of(b.client)); n+int(gone) != 2*many {
		t.Errorf("%d events of the flood came and %d are lost of %d", n, gone, 2*many)
	}
	if n := len(b.of(b.server)); n != 2*few {
		t.Errorf("%d of %d events of the quiet cgroup came", n, 2*few)
	}
	closeAll(calls)
	closeAll(flooded)
	b.awaitNoneHeld(b.client)
	b.awaitNoneHeld(b.server)
	closeAll(b.connections(b.client, few))
	b.awaitNoneHeld(b.client)
}
