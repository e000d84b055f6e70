package flows

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Tables of share.h, as in flow.h.
const (
	tableFlows4  = 0
	tableSockets = 2
)

// spray sends a datagram to each of many ports from one socket of a cgroup: each but the first is a flow in the map.
func spray(tr *trace, from *bpftest.Cgroup, address string, ports int) *net.UDPConn {
	tr.Helper()
	conn := listenUDP(tr, from, address)
	for port := range ports {
		_, err := conn.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(address), Port: 20000 + port})
		tr.check(err)
	}
	return conn
}

// sprayed is how many of the flows of a cgroup have come, each perhaps more than once.
func sprayed(tr *trace, c *bpftest.Cgroup) int {
	ports := make(map[uint32]bool)
	for _, ev := range tr.of(c, everything) {
		ports[ev.GetFlow().GetDst().GetPort()] = true
	}
	return len(ports)
}

func TestFlowMaps_FloodLeavesRoomForOthers(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			const room, flows, calls = 400, 2000, 5
			tr := newTrace(t, Options{MaxFlows: room})
			flood, quiet := tr.wanted("flood"), tr.wanted("quiet")
			spray(tr, flood, address, flows)
			spray(tr, quiet, address, calls)
			tr.flush()
			if n := sprayed(tr, quiet); n != calls {
				t.Errorf("%d of %d flows of the quiet cgroup came", n, calls)
			}
			var gone int
			for _, l := range tr.probe.Lost() {
				if l.Stage == event.LossStage_LOSS_STAGE_KERNEL_MAP && l.Cgroup != flood.ID {
					t.Errorf("another than the flood lost: %+v", l)
				}
				gone += int(l.Count)
			}
			if n := sprayed(tr, flood); n < room || n+gone != flows {
				t.Errorf("%d flows came and %d are lost of %d", n, gone, flows)
			}
		})
	}
}

func TestFlowMaps_ShareIsFreeAfterRemoval(t *testing.T) {
	const room = 50
	tr := newTrace(t, Options{MaxFlows: room})
	flood := tr.wanted("flood")
	for i := range 3 {
		lostBefore := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP)
		conn := spray(tr, flood, "127.0.0.1", room)
		if n := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP); n != lostBefore {
			t.Errorf("round %d: %d of %d flows found no room", i, n-lostBefore, room)
		}
		tr.check(conn.Close())
		for range 3 { // one closes the flows, the next removes them
			tr.flush()
		}
	}
	if n := count(tr, tr.probe.objects.PacketFlows4); n != 0 {
		t.Errorf("%d flows are left", n)
	}
	if held := tr.heldBy(flood, tableFlows4); held != 0 {
		t.Errorf("the cgroup holds %d flows", held)
	}
}

// heldBy is what a cgroup holds of a table of share.h.
func (tr *trace) heldBy(c *bpftest.Cgroup, table int) int64 {
	tr.Helper()
	return bpftest.Held(tr, tr.probe.objects.Shares, c, table)
}

// awaitHeld fails the test unless a cgroup holds so many sockets some time.
func awaitHeld(tr *trace, c *bpftest.Cgroup, want int64) {
	tr.Helper()
	var held int64
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if held = tr.heldBy(c, tableSockets); held == want {
			return
		}
	}
	tr.Fatalf("the cgroup holds %d sockets, want %d", held, want)
}

// connections opens connections to a listener of the same cgroup: all but the listener are two sockets each.
func connections(tr *trace, in *bpftest.Cgroup, n int) (all []io.Closer) {
	tr.Helper()
	in.Run(tr.T, func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		tr.check(err)
		all = append(all, l)
		for range n {
			c, err := net.Dial("tcp", l.Addr().String())
			tr.check(err)
			s, err := l.Accept()
			tr.check(err)
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

func datagramSockets(tr *trace, in *bpftest.Cgroup, n int) (all []io.Closer) {
	tr.Helper()
	in.Run(tr.T, func() {
		for range n {
			c, err := net.Dial("udp", "127.0.0.1:9")
			tr.check(err)
			all = append(all, c)
			_, err = c.Write([]byte("x"))
			tr.check(err)
		}
	})
	return all
}

func TestSockets_FloodLeavesRoomForOthers(t *testing.T) {
	for name, open := range map[string]func(*trace, *bpftest.Cgroup, int) []io.Closer{
		"TCP": connections, "UDP": datagramSockets,
	} {
		t.Run(name, func(t *testing.T) {
			const room, many, few = 200, 300, 3
			tr := newTrace(t, Options{MaxSockets: room})
			flood, quiet := tr.wanted("flood"), tr.wanted("quiet")
			flooded := open(tr, flood, many)
			defer func() { closeAll(flooded) }()
			held := tr.heldBy(flood, tableSockets)
			if held < room || held > room+room/4 {
				t.Errorf("the flood holds %d sockets in room for %d and a reserve of %d", held, room, room/4)
			}
			var none uint64
			if gone := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP); gone+uint64(held) < many {
				t.Errorf("%d sockets are followed and %d lost of %d", held, gone, many)
			}
			calls := open(tr, quiet, few)
			tr.flush()
			for _, l := range tr.probe.Lost() {
				if l.Cgroup != flood.ID {
					none += l.Count
				}
			}
			if n := len(tr.of(quiet, everything)); none > 0 || n < few {
				t.Errorf("%d events of the quiet cgroup came, and %d were lost", n, none)
			}
			closeAll(calls)
			closeAll(flooded)
			awaitHeld(tr, flood, 0)
			awaitHeld(tr, quiet, 0)
		})
	}
}

// Connections that are reset before anyone accepts them, refused ones, and sockets that connect again.
func TestSockets_CountDoesNotDrift(t *testing.T) {
	tr := newTrace(t, Options{MaxSockets: 1000})
	c := tr.wanted("client")
	for range 5 {
		closeAll(connections(tr, c, 10))
		closeAll(datagramSockets(tr, c, 10))
		abandoned(tr, c, 10)
		reconnected(tr, c)
	}
	awaitHeld(tr, c, 0)
	var used [5]int64
	tr.check(tr.probe.objects.ShareUsed.Get(&used))
	if used[tableSockets] != 0 {
		t.Errorf("%d sockets are counted, and none is left", used[tableSockets])
	}
}

// abandoned connects to a listener that accepts nothing: some of its children are reset, the others end with it.
func abandoned(tr *trace, in *bpftest.Cgroup, n int) {
	tr.Helper()
	in.Run(tr.T, func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		tr.check(err)
		defer func() { tr.check(l.Close()) }()
		for i := range n {
			c, err := net.Dial("tcp", l.Addr().String())
			tr.check(err)
			if i%2 == 0 {
				tr.check(c.(*net.TCPConn).SetLinger(0))
			}
			defer c.Close()
		}
	})
}

// reconnected uses one socket for a connection that is refused, and then for one that is not.
func reconnected(tr *trace, in *bpftest.Cgroup) {
	tr.Helper()
	in.Run(tr.T, func() {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		tr.check(err)
		defer func() { tr.check(l.Close()) }()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		tr.check(err)
		defer func() { tr.check(unix.Close(fd)) }()
		if unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}) == nil {
			tr.Fatal("something listens on port 9")
		}
		port := l.Addr().(*net.TCPAddr).Port
		tr.check(unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	})
}
