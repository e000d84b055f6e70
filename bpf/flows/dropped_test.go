package flows

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// drain reads what the socket's queue holds. What is sent by loopback is there when the sender's call returns.
func drain(t *testing.T, c *net.UDPConn) (datagrams, bytes uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	if err := raw.Read(func(fd uintptr) bool {
		for {
			n, _, errno := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if errno != nil {
				err = errno
				return true
			}
			datagrams, bytes = datagrams+1, bytes+uint64(n)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return datagrams, bytes
}

// knowsDrops says whether this kernel's tracepoint has the datagram.
func knowsDrops(t *testing.T) bool {
	t.Helper()
	kernel, err := bpf.KernelTypes(btf.NewCache())
	if err != nil {
		t.Fatal(err)
	}
	n, err := bpf.TracepointParameters(kernel, "udp_fail_queue_rcv_skb")
	if err != nil {
		t.Fatal(err)
	}
	return n > 2
}

func TestFlow_FullReceiveBuffer(t *testing.T) {
	for _, family := range familyNames() {
		for _, kind := range []string{"connected", "two peers"} {
			t.Run(family+" "+kind, func(t *testing.T) { fullReceiveBuffer(t, families[family], kind == "connected") })
		}
	}
}

// fullReceiveBuffer sends 200 datagrams from each peer to a socket with a small buffer, and compares with what the program reads.
func fullReceiveBuffer(t *testing.T, address string, connected bool) {
	const sent, size = 200, 100
	tr := newTrace(t, Options{})
	group := tr.wanted("server")
	server := listenUDP(tr, group, address)
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
				return (f.Phase == event.Phase_PHASE_CLOSED) == closed && (hostPort(t, f.Src) == peer || hostPort(t, f.Dst) == peer)
			}).GetFlow()
			checkDropped(t, own(t, f), got[0], got[1], sent, sent*size)
		}
		server.Close()
		tr.flush()
	}
	if n := count(tr, tr.probe.objects.PacketDropped); n != 0 {
		t.Errorf("%d entries are left for flows that have closed", n)
	}
}

func checkDropped(t *testing.T, c *event.Counters, datagrams, bytes, sent, sentBytes uint64) {
	t.Helper()
	if !knowsDrops(t) {
		if c.Dropped != nil || c.PacketsReceived != sent || c.BytesReceived != sentBytes {
			t.Errorf("%v, want no dropped where the kernel does not tell", c)
		}
		return
	}
	if c.Dropped == nil || c.PacketsReceived != datagrams || c.BytesReceived != bytes || c.GetDropped() != sent-datagrams {
		t.Errorf("received %d (%d bytes), dropped %v; want %d (%d bytes), %d", c.PacketsReceived, c.BytesReceived, c.Dropped,
			datagrams, bytes, sent-datagrams)
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
