package flows

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// listenUDP makes an unconnected socket in a cgroup.
func listenUDP(tr *trace, c *bpftest.Cgroup, address string) *net.UDPConn {
	tr.Helper()
	var conn *net.UDPConn
	c.Run(tr, func() {
		l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
		tr.check(err)
		conn = l
	})
	bpftest.CloseAfter(tr, conn)
	return conn
}

// dialUDP makes a connected socket in a cgroup.
func dialUDP(tr *trace, c *bpftest.Cgroup, to net.Addr) *net.UDPConn {
	tr.Helper()
	var conn *net.UDPConn
	c.Run(tr, func() {
		d, err := net.DialUDP("udp", nil, to.(*net.UDPAddr))
		tr.check(err)
		conn = d
	})
	bpftest.CloseAfter(tr, conn)
	return conn
}

// send sends datagrams and has each received before the next goes, so that none is dropped.
func send(tr *trace, write func([]byte) (int, error), to *net.UDPConn, datagrams, size int) (from netip.AddrPort) {
	tr.Helper()
	buf := make([]byte, size+1)
	tr.check(to.SetReadDeadline(time.Now().Add(waitTimeout)))
	for range datagrams {
		_, err := write(buf[:size])
		tr.check(err)
		n, f, err := to.ReadFromUDPAddrPort(buf)
		tr.check(err)
		if n != size {
			tr.Fatalf("%d bytes came, want %d", n, size)
		}
		from = f
	}
	return from
}

func checkPackets(t *testing.T, f *event.Flow, sent, sentBytes, received, receivedBytes uint64) {
	t.Helper()
	n := own(t, f)
	if n.PacketsSent != sent || n.BytesSent != sentBytes || n.PacketsReceived != received ||
		n.BytesReceived != receivedBytes {
		t.Errorf("%s: sent %d of %d bytes, received %d of %d; want %d of %d, and %d of %d", f.Observed,
			n.PacketsSent, n.BytesSent, n.PacketsReceived, n.BytesReceived, sent, sentBytes, received, receivedBytes)
	}
	if n.Retransmits != nil || n.SrttMicros != nil || f.IsnValid || f.State != 0 {
		t.Errorf("%s has what only TCP has: %v", f.Protocol, f)
	}
}

func TestUDPDatagramsAndBytesAreExact(t *testing.T) {
	const (
		requests, requestSize   = 137, 1200
		responses, responseSize = 11, 77
	)
	for _, family := range familyNames() {
		for _, kind := range []string{"connected", "unconnected"} {
			t.Run(family+", "+kind, func(t *testing.T) {
				tr := newTrace(t, Options{})
				client, server := tr.wanted("client"), tr.wanted("server")
				s := listenUDP(tr, server, families[family])
				var c *net.UDPConn
				var write func([]byte) (int, error)
				if kind == "connected" {
					c = dialUDP(tr, client, s.LocalAddr())
					write = c.Write
				} else {
					c = listenUDP(tr, client, families[family])
					write = func(b []byte) (int, error) { return c.WriteTo(b, s.LocalAddr()) }
				}
				from := send(tr, write, s, requests, requestSize)
				send(tr, func(b []byte) (int, error) { return s.WriteToUDPAddrPort(b, from) }, c, responses,
					responseSize)
				send(tr, write, s, 1, 0) // an empty datagram is one, too

				for _, when := range []string{"live", "closed"} {
					cf, sf := tr.current(client), tr.current(server)
					if when == "closed" {
						tr.check(c.Close())
						tr.check(s.Close())
						cf, sf = tr.closed(client), tr.closed(server)
					}
					checkPackets(t, cf, requests+1, requests*requestSize, responses, responses*responseSize)
					checkPackets(t, sf, responses, responses*responseSize, requests+1, requests*requestSize)
					checkUDPEnds(t, cf, sf, from.String(), s.LocalAddr().String())
				}
			})
		}
	}
}

func checkUDPEnds(t *testing.T, c, s *event.Flow, src, dst string) {
	t.Helper()
	for _, f := range []*event.Flow{c, s} {
		if f.Protocol != event.Protocol_PROTOCOL_UDP {
			t.Errorf("protocol %s", f.Protocol)
		}
		if a, b := hostPort(t, f.Src), hostPort(t, f.Dst); a != src || b != dst {
			t.Errorf("%s: %s → %s, want %s → %s", f.Observed, a, b, src, dst)
		}
		if !f.RoleKnown || f.SocketCookie == 0 || f.StartTime == 0 || f.LastTime == 0 {
			t.Errorf("role known: %v, cookie %d, start %d, last %d", f.RoleKnown, f.SocketCookie, f.StartTime,
				f.LastTime)
		}
	}
	if c.Observed != event.Side_SIDE_SRC || s.Observed != event.Side_SIDE_DST {
		t.Errorf("observed %s and %s, want SRC and DST", c.Observed, s.Observed)
	}
	if int(c.Src.Pid) != os.Getpid() || int(s.Dst.Pid) != os.Getpid() || c.Src.Comm == "" {
		t.Errorf("owners %v and %v, want this process %d", c.Src, s.Dst, os.Getpid())
	}
}

func TestEachPeerOfAnUnconnectedSocketIsAFlow(t *testing.T) {
	for _, family := range familyNames() {
		t.Run(family, func(t *testing.T) { manyPeers(newTrace(t, Options{}), families[family]) })
	}
}

func manyPeers(tr *trace, address string) {
	const peers = 50
	t := tr.T
	server, client := tr.wanted("server"), tr.wanted("client")
	s := listenUDP(tr, server, address)
	want := make(map[string]uint64)
	for i := range peers {
		c := dialUDP(tr, client, s.LocalAddr())
		send(tr, c.Write, s, i+1, 10)
		send(tr, func(b []byte) (int, error) { return s.WriteTo(b, c.LocalAddr()) }, c, 1, 20)
		want[c.LocalAddr().String()] = uint64(i + 1)
	}
	tr.check(s.Close())
	tr.flush() // closes the flows of sockets that are gone
	got := tr.of(server, func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED })
	for _, ev := range got {
		f := ev.GetFlow()
		n := want[hostPort(t, f.Src)]
		delete(want, hostPort(t, f.Src))
		checkPackets(t, f, 1, 20, n, 10*n)
		if f.Observed != event.Side_SIDE_DST || int(f.Dst.Pid) != os.Getpid() {
			t.Errorf("observed %s, owner %d", f.Observed, f.Dst.Pid)
		}
	}
	if len(got) != peers || len(want) > 0 {
		t.Errorf("%d flows closed, want %d; missing %v", len(got), peers, want)
	}
	// What has closed is swept out at the next scan, and the socket is forgotten.
	tr.flush()
	o := &tr.probe.objects
	for _, m := range []*ebpf.Map{o.PacketFlows4, o.PacketFlows6, o.PacketGone} {
		if n := count(tr, m); n != 0 {
			t.Errorf("%d entries are left in %s", n, m)
		}
	}
}

func TestManyThreadsOnOneSocketLoseNoCount(t *testing.T) {
	const threads, each, size = 8, 20_000, 16
	tr := newTrace(t, Options{})
	client := tr.wanted("client")
	// never reads: what it cannot queue has been sent all the same
	sink := listenUDP(tr, tr.wanted("server"), "127.0.0.1")
	for _, kind := range []string{"connected", "unconnected"} {
		c := listenUDP(tr, client, "127.0.0.1")
		write := func(b []byte) (int, error) { return c.WriteTo(b, sink.LocalAddr()) }
		if kind == "connected" {
			c = dialUDP(tr, client, sink.LocalAddr())
			write = c.Write
		}
		var wg sync.WaitGroup
		for range threads {
			wg.Go(func() {
				for range each {
					if _, err := write(make([]byte, size)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		tr.check(c.Close())
		checkPackets(t, tr.closed(client), threads*each, threads*each*size, 0, 0)
	}
}

func TestASegmentedSendCountsEachDatagram(t *testing.T) {
	const size, datagrams, last = 1000, 20, 123
	for _, receiver := range []string{"that takes datagrams", "that takes them coalesced"} {
		t.Run("to a socket "+receiver, func(t *testing.T) {
			tr := newTrace(t, Options{})
			client, server := tr.wanted("client"), tr.wanted("server")
			s := listenUDP(tr, server, "127.0.0.1")
			if receiver == "that takes them coalesced" {
				control(tr, s, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) })
			}
			c := dialUDP(tr, client, s.LocalAddr())
			control(tr, c, func(fd int) error {
				return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
			})
			const total = size*datagrams + last
			_, err := c.Write(make([]byte, total))
			tr.check(err)
			buf := make([]byte, 1<<16)
			tr.check(s.SetReadDeadline(time.Now().Add(waitTimeout)))
			for got := 0; got < total; {
				n, err := s.Read(buf)
				tr.check(err)
				got += n
			}
			checkPackets(t, tr.current(client), datagrams+1, total, 0, 0)
			checkPackets(t, tr.current(server), 0, 0, datagrams+1, total)
		})
	}
}

func TestAFragmentedDatagramCountsOnce(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	lo, err := netlink.LinkByName("lo")
	tr.check(err)
	tr.check(netlink.LinkSetMTU(lo, 1500))
	t.Cleanup(func() { tr.check(netlink.LinkSetMTU(lo, lo.Attrs().MTU)) })
	for _, family := range familyNames() {
		s := listenUDP(tr, server, families[family])
		c := dialUDP(tr, client, s.LocalAddr())
		const size = 60_000
		send(tr, c.Write, s, 3, size)
		tr.check(c.Close())
		checkPackets(t, tr.closed(client), 3, 3*size, 0, 0)
		tr.check(s.Close())
		checkPackets(t, tr.closed(server), 0, 0, 3, 3*size)
	}
}

func TestUDP_ReconnectOpensAnotherFlow(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	first, second := listenUDP(tr, server, "127.0.0.1"), listenUDP(tr, server, "127.0.0.2")
	c := dialUDP(tr, client, first.LocalAddr())
	send(tr, c.Write, first, 5, 100)
	control(tr, c, func(fd int) error {
		a := second.LocalAddr().(*net.UDPAddr)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: a.Port, Addr: a.AddrPort().Addr().As4()})
	})
	send(tr, c.Write, second, 7, 200)
	tr.check(c.Close())
	for to, want := range map[string][2]uint64{
		first.LocalAddr().String():  {5, 500},
		second.LocalAddr().String(): {7, 1400},
	} {
		f := tr.last(client, "closed to "+to, func(f *event.Flow) bool {
			return f.Phase == event.Phase_PHASE_CLOSED && hostPort(t, f.Dst) == to
		}).GetFlow()
		checkPackets(t, f, want[0], want[1], 0, 0)
	}
}

func TestUDP_IdleFlowClosesAndReopens(t *testing.T) {
	// With this timeout every flow is idle at the next scan.
	tr := newTrace(t, Options{UDPIdle: time.Nanosecond})
	client, server := tr.wanted("client"), tr.wanted("server")
	s := listenUDP(tr, server, "127.0.0.1")
	for i, n := range []int{3, 5} {
		c := dialUDP(tr, client, s.LocalAddr())
		// The server's socket has two flows: one is kept in socket storage, one in the map.
		send(tr, c.Write, s, n, 10)
		closed := func() (all []*event.Event) {
			return tr.of(server, func(f *event.Flow) bool {
				return f.Phase == event.Phase_PHASE_CLOSED && hostPort(t, f.Src) == c.LocalAddr().String()
			})
		}
		for len(closed()) == 0 {
			tr.flush()
		}
		checkPackets(t, closed()[0].GetFlow(), 0, 0, uint64(n), uint64(10*n))
		send(tr, c.Write, s, 1, 10)
		for len(closed()) == 1 {
			tr.flush()
		}
		checkPackets(t, closed()[1].GetFlow(), 0, 0, 1, 10)
		if a, b := closed()[0].GetFlow(), closed()[1].GetFlow(); a.StartTime >= b.StartTime {
			t.Errorf("flow %d: starts at %d and again at %d", i, a.StartTime, b.StartTime)
		}
	}
}

// control runs f on a socket.
func control(tr *trace, c *net.UDPConn, f func(fd int) error) {
	tr.Helper()
	raw, err := c.SyscallConn()
	tr.check(err)
	var inner error
	tr.check(raw.Control(func(fd uintptr) { inner = f(int(fd)) }))
	tr.check(inner)
}

func TestPingIsOneFlow(t *testing.T) {
	tr := newTrace(t, Options{})
	tr.check(os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0))
	for _, test := range []struct {
		name, address     string
		family, kind      int
		protocol, request int
		want              event.Protocol
	}{
		{"IPv4, ping socket", "127.0.0.1", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, 8,
			event.Protocol_PROTOCOL_ICMP},
		{"IPv6, ping socket", "::1", unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6, 128,
			event.Protocol_PROTOCOL_ICMPV6},
		{"IPv4, raw socket", "127.0.0.1", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, 8,
			event.Protocol_PROTOCOL_ICMP},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := tr.wanted(fmt.Sprintf("ping-%d-%d", test.family, test.kind))
			var fd int
			c.Run(t, func() {
				var err error
				fd, err = unix.Socket(test.family, test.kind, test.protocol)
				tr.check(err)
			})
			defer func() { tr.check(unix.Close(fd)) }()
			var to unix.Sockaddr = &unix.SockaddrInet6{Addr: netip.MustParseAddr(test.address).As16()}
			if test.family == unix.AF_INET {
				to = &unix.SockaddrInet4{Addr: netip.MustParseAddr(test.address).As4()}
			}
			const echoes, size = 5, 64
			id := uint16(0xabcd)
			for seq := range echoes {
				tr.check(unix.Sendto(fd, echo(byte(test.request), id, uint16(seq), size), 0, to))
				for answered := false; !answered; {
					buf := make([]byte, 1500)
					n, _, err := unix.Recvfrom(fd, buf, 0)
					tr.check(err)
					if test.kind == unix.SOCK_RAW {
						buf, n = buf[20:], n-20 // a raw socket sees the request as well as its answer
					}
					if n != size {
						t.Fatalf("%d bytes came, want %d", n, size)
					}
					answered = int(buf[0]) != test.request
				}
			}
			if test.kind == unix.SOCK_DGRAM {
				sa, err := unix.Getsockname(fd) // the kernel has chosen the identifier
				tr.check(err)
				switch sa := sa.(type) {
				case *unix.SockaddrInet4:
					id = uint16(sa.Port)
				case *unix.SockaddrInet6:
					id = uint16(sa.Port)
				}
			}
			f := tr.current(c)
			received := uint64(echoes)
			if test.kind == unix.SOCK_RAW {
				received *= 2
			}
			checkPackets(t, f, echoes, echoes*size, received, received*size)
			if f.Protocol != test.want || f.GetIcmpType() != uint32(test.request) || f.IcmpCode == nil ||
				f.GetIcmpCode() != 0 {
				t.Errorf("%s, type %v, code %v", f.Protocol, f.IcmpType, f.IcmpCode)
			}
			if f.Src.Port != uint32(id) || f.Dst.Port != 0 || f.Observed != event.Side_SIDE_SRC {
				t.Errorf("identifier %d and %d, want %d; observed %s", f.Src.Port, f.Dst.Port, id, f.Observed)
			}
			a, _ := netip.AddrFromSlice(f.Dst.Address)
			if a.String() != test.address {
				t.Errorf("to %s, want %s", a, test.address)
			}
		})
	}
}

// echo makes an ICMP echo request of size bytes.
func echo(kind byte, id, seq uint16, size int) []byte {
	b := make([]byte, size)
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}
