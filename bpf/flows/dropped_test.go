package flows

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// drain reads what the socket's queue holds when all that was sent has arrived.
func drain(t *testing.T, c *net.UDPConn) (datagrams, bytes uint64) {
	t.Helper()
	if err := bpftest.DeliverLoopback(); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		datagrams, bytes, err = drainSocket(int(fd))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return datagrams, bytes
}

func drainSocket(fd int) (packets, bytes uint64, err error) {
	buf := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return packets, bytes, nil
		}
		if err != nil {
			return 0, 0, err
		}
		packets, bytes = packets+1, bytes+uint64(n)
	}
}

func TestFlow_FullReceiveBuffer(t *testing.T) {
	for _, family := range familyNames() {
		for _, kind := range []string{"connected", "two peers"} {
			t.Run(family+" "+kind, func(t *testing.T) { fullReceiveBuffer(t, family, kind == "connected") })
		}
	}
}

// fullReceiveBuffer sends 200 datagrams from each peer to a socket with a small buffer, and compares with what the
// program reads.
func fullReceiveBuffer(t *testing.T, family string, connected bool) {
	const sent, size = 200, 100
	tr := newTrace(t, Options{})
	group := tr.wanted("server")
	server := listenUDP(tr, group, families[family])
	peers := []*net.UDPConn{dialUDP(tr, tr.wanted("a"), server.LocalAddr())}
	if connected {
		// The socket under test is connected to its only peer.
		server = dialUDP(tr, group, peers[0].LocalAddr())
		reconnect(t, peers[0], server.LocalAddr())
	} else {
		peers = append(peers, dialUDP(tr, tr.wanted("b"), server.LocalAddr()))
	}
	if err := server.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]uint64{} // datagrams and bytes that the program got, by peer
	for _, p := range peers {
		for range sent {
			if _, err := p.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		n, bytes := drain(t, server)
		if n == 0 || n == sent {
			t.Fatalf("the program got %d of %d datagrams, want some of them", n, sent)
		}
		want[p.LocalAddr().String()] = [2]uint64{n, bytes}
	}
	tr.flush()
	for _, closed := range []bool{false, true} { // a scan amid the sending makes the newest of the open flow an update
		for peer, got := range want {
			f := tr.last(group, fmt.Sprintf("flow of %s, closed %v", peer, closed), func(f *event.Flow) bool {
				return (f.Phase == event.Phase_PHASE_CLOSED) == closed &&
					(hostPort(t, f.Src) == peer || hostPort(t, f.Dst) == peer)
			}).GetFlow()
			checkUDPDropped(t, family, own(t, f), got[0], got[1], sent)
		}
		if !closed {
			tr.check(server.Close())
		}
		tr.flush()
	}
	if m := tr.probe.objects.Dropped; m != nil {
		if n := count(tr, m); n != 0 {
			t.Errorf("%d entries are left for flows that have closed", n)
		}
	}
	if lost := tr.probe.Lost(); len(lost) > 0 {
		t.Errorf("lost %+v", lost)
	}
}

// A fragmented datagram is one packet, dropped as a whole together with its fragments.
func TestFlow_FullReceiveBufferFragments(t *testing.T) {
	const sent, size = 20, 20_000
	tr := newTrace(t, Options{})
	client, group := tr.wanted("client"), tr.wanted("server")
	lo, err := netlink.LinkByName("lo")
	tr.check(err)
	tr.check(netlink.LinkSetMTU(lo, 1500))
	t.Cleanup(func() { tr.check(netlink.LinkSetMTU(lo, lo.Attrs().MTU)) })
	for _, family := range familyNames() {
		t.Run(family, func(t *testing.T) {
			server := listenUDP(tr, group, families[family])
			tr.check(server.SetReadBuffer(60_000))
			c := dialUDP(tr, client, server.LocalAddr())
			for range sent {
				_, err := c.Write(make([]byte, size))
				tr.check(err)
			}
			n, bytes := drain(t, server)
			if n == 0 || n == sent {
				t.Fatalf("the program got %d of %d datagrams, want some of them", n, sent)
			}
			tr.check(server.Close())
			tr.flush()
			f := tr.last(group, "closed flow", func(f *event.Flow) bool {
				return f.Phase == event.Phase_PHASE_CLOSED && hostPort(t, f.Src) == c.LocalAddr().String()
			}).GetFlow()
			checkUDPDropped(t, family, own(t, f), n, bytes, sent)
		})
	}
}

// A flow that found no place is lost with its datagrams: those that were dropped are not counted a second time.
func TestFlow_DropsOfRefusedFlows(t *testing.T) {
	const room, peers = 50, 200
	tr := newTrace(t, Options{MaxFlows: room})
	group := tr.wanted("server")
	server := listenUDP(tr, group, "127.0.0.1")
	tr.check(server.SetReadBuffer(4096))
	client := tr.wanted("client")
	for range peers {
		c := dialUDP(tr, client, server.LocalAddr())
		_, err := c.Write(make([]byte, 100))
		tr.check(err)
		tr.check(c.Close())
	}
	n, _ := drain(t, server)
	tr.check(server.Close())
	tr.flush()
	var received, dropped uint64
	closed := func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED }
	for _, ev := range tr.of(group, closed) {
		c := own(t, ev.GetFlow())
		received, dropped = received+c.PacketsReceived, dropped+c.GetDropped()
	}
	refused := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP)
	if refused == 0 || received != n || received+dropped+refused != peers {
		t.Errorf("received %d, dropped %d, refused %d; want %d received of %d", received, dropped, refused, n, peers)
	}
}

func TestFlow_FullReceiveBufferICMP(t *testing.T) {
	tr := newTrace(t, Options{})
	tr.check(os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0))
	for _, test := range []struct {
		name                            string
		family, kind, protocol, request int
	}{
		{"IPv4 ping socket", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, 8},
		{"IPv6 ping socket", unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6, 128},
		{"IPv4 raw socket", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, 8},
		{"IPv6 raw socket", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, 128},
	} {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s connected %v", test.name, connected), func(t *testing.T) {
				const echoes, size = 100, 64
				c := tr.wanted(fmt.Sprintf("full-%d-%d-%v", test.family, test.kind, connected))
				fd := smallSocket(tr, c, test.family, test.kind, test.protocol)
				to := loopback(test.family)
				if connected {
					tr.check(unix.Connect(fd, to))
				}
				for seq := range echoes {
					tr.check(unix.Sendto(fd, echo(byte(test.request), 0x1234, uint16(seq), size), 0, to))
				}
				tr.check(bpftest.DeliverLoopback())
				n, bytes, err := drainSocket(fd)
				tr.check(err)
				arrived := uint64(echoes)
				if test.kind == unix.SOCK_RAW {
					arrived *= 2 // the requests, too
					if test.family == unix.AF_INET {
						bytes -= 20 * n // the IP headers, which are no payload
					}
				}
				if n == 0 || n >= arrived {
					t.Fatalf("the program got %d of %d packets, want some of them", n, arrived)
				}
				got := own(t, tr.current(c))
				if test.kind != unix.SOCK_RAW {
					checkDropped(t, got, n, bytes, arrived)
				} else if got.Dropped != nil || !bpftest.Hashed(t) && (got.PacketsReceived != n ||
					got.BytesReceived != bytes) {
					t.Errorf("%v, want %d received (%d bytes), and dropped unknown", got, n, bytes)
				}
			})
		}
	}
}

// smallSocket makes a socket with the smallest receive buffer there is.
func smallSocket(tr *trace, c *bpftest.Cgroup, family, kind, protocol int) (fd int) {
	tr.Helper()
	c.Run(tr.T, func() {
		var err error
		fd, err = unix.Socket(family, kind, protocol)
		tr.check(err)
	})
	tr.Cleanup(func() { tr.check(unix.Close(fd)) })
	tr.check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
	return fd
}

func loopback(family int) unix.Sockaddr {
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	}
	return &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}
}

// reportsDrops says whether the running kernel reports the drops of UDP over a family: before Linux 6.10, not over
// IPv6.
func reportsDrops(t *testing.T, family string) bool {
	t.Helper()
	kernel, err := bpf.KernelTypes(btf.NewCache())
	if err != nil {
		t.Fatal(err)
	}
	n, err := bpf.TracepointParameters(kernel, "udp_fail_queue_rcv_skb")
	if err != nil {
		t.Fatal(err)
	}
	return n > 2 || family == "IPv4"
}

// checkUDPDropped is checkDropped where the kernel reports the drops.
func checkUDPDropped(t *testing.T, family string, c *event.Counters, datagrams, bytes, sent uint64) {
	t.Helper()
	if reportsDrops(t, family) {
		checkDropped(t, c, datagrams, bytes, sent)
	} else if c.Dropped != nil || c.PacketsReceived != sent {
		t.Errorf("%v, want no dropped where the kernel does not report it", c)
	}
}

func checkDropped(t *testing.T, c *event.Counters, datagrams, bytes, sent uint64) {
	t.Helper()
	if c.Dropped == nil || c.PacketsReceived != datagrams || c.BytesReceived != bytes ||
		c.GetDropped() != sent-datagrams {
		t.Errorf("received %d (%d bytes), dropped %v %d; want %d (%d bytes), %d",
			c.PacketsReceived, c.BytesReceived, c.Dropped != nil, c.GetDropped(), datagrams, bytes, sent-datagrams)
	}
}

// reconnect connects a UDP socket to another peer.
func reconnect(t *testing.T, c *net.UDPConn, to net.Addr) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	a := to.(*net.UDPAddr)
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To16()[12:])}
	if a.IP.To4() == nil {
		sa = &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP)}
	}
	if e := raw.Control(func(fd uintptr) { err = unix.Connect(int(fd), sa) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}
