package flows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// rig is a probe beside an empty program on the same hooks, with the kernel counting the time of both.
type rig struct {
	*bpftest.Cost
	probe  *Probe
	cgroup *bpftest.Cgroup
}

func newRig(b *testing.B, inScope bool, o Options) *rig {
	b.Helper()
	bpftest.CountRunTime(b)
	root := bpftest.CgroupRoot(b)
	s, err := scope.Open(scope.Options{CgroupRoot: root})
	check(b, err)
	bpftest.CloseAfter(b, s)
	r := &rig{cgroup: bpftest.NewCgroup(b, "orb8-flows-bench")}
	check(b, s.SetCgroup(r.cgroup.ID, inScope))

	o.Scope, o.CgroupRoot = s, root
	if o.Interval == 0 {
		o.Interval = time.Hour
	}
	r.probe, err = Open(b.Context(), o)
	check(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.probe.Run(ctx, func(uint64, *event.Event) {}) }()
	b.Cleanup(func() {
		cancel()
		check(b, <-done)
		check(b, r.probe.Close())
	})
	r.Cost = bpftest.NewCost(b, root, r.probe.objects.PacketIn, r.probe.objects.PacketOut)
	return r
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// measure is Cost.Measure, and logs what was lost.
func (r *rig) measure(traffic func()) {
	r.Helper()
	r.Measure(traffic)
	if lost := r.probe.Lost(); len(lost) > 0 {
		r.Logf("lost: %v", lost)
	}
}

// BenchmarkKernelPacket measures what one packet costs, by the kernel's own count of run time.
func BenchmarkKernelPacket(b *testing.B) {
	for _, scoped := range []bool{true, false} {
		name := "in-scope"
		if !scoped {
			name = "out-of-scope"
		}
		b.Run("TCP/"+name, func(b *testing.B) {
			r := newRig(b, scoped, Options{})
			r.measure(func() { tcpPingPong(r, 100_000) })
			ns, reads := bpftest.RunTime(b, r.probe.objects.TcpReader)
			b.ReportMetric(ns/reads, "ns/read")
		})
		b.Run("TCP-connections/"+name, func(b *testing.B) {
			r := newRig(b, scoped, Options{})
			tcpConnections(r, 5_000)
			ns, changes := bpftest.RunTime(b, r.probe.objects.TcpState)
			b.ReportMetric(ns/changes, "ns/state-change")
			b.ReportMetric(ns/5_000, "ns/connection")
			b.ReportMetric(0, "ns/op")
		})
		b.Run("UDP-connected/"+name, func(b *testing.B) {
			r := newRig(b, scoped, Options{})
			r.measure(func() { udpFlow(r, 200_000) })
		})
	}
	for _, shape := range []struct{ flows, packets int }{{4, 50_000}, {20_000, 20}, {100_000, 5}} {
		for _, bursts := range []bool{false, true} {
			order := "interleaved"
			if bursts {
				order = "in-bursts"
			}
			b.Run(fmt.Sprintf("UDP-unconnected/%d-flows-of-%d/%s", shape.flows, shape.packets, order),
				func(b *testing.B) {
					// Both ends are in scope, so there are twice as many.
					r := newRig(b, true, Options{MaxFlows: uint32(max(1<<17, 2*shape.flows))})
					r.measure(func() { udpFlows(r, shape.flows, shape.packets, bursts) })
				})
		}
	}
}

func tcpPingPong(r *rig, rounds int) {
	var l net.Listener
	var c net.Conn
	r.cgroup.Run(r, func() {
		var err error
		l, err = net.Listen("tcp", "127.0.0.1:0")
		check(r, err)
		c, err = net.Dial("tcp", l.Addr().String())
		check(r, err)
	})
	defer func() { check(r, l.Close()) }()
	defer c.Close()
	s, err := l.Accept()
	check(r, err)
	defer s.Close()
	go func() { _, _ = io.Copy(s, s) }() // until the client closes
	buf := make([]byte, 1)
	for range rounds {
		if _, err := c.Write(buf); err != nil {
			r.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			r.Fatal(err)
		}
	}
}

// tcpConnections opens and closes connections, one after the other, whose both ends are in the cgroup.
func tcpConnections(r *rig, n int) {
	r.cgroup.Run(r, func() {
		for range n {
			c, err := talk(1)
			check(r, err)
			check(r, c.Close())
		}
	})
}

// udpPair makes a server that reads whatever comes and an unconnected client, both in scope.
func udpPair(r *rig) (client int, to unix.SockaddrInet4, stop func()) {
	var server *net.UDPConn
	r.cgroup.Run(r, func() {
		var err error
		server, err = net.ListenUDP("udp4", nil)
		check(r, err)
		client, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		check(r, err)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			if _, err := server.Read(buf); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	to = unix.SockaddrInet4{Port: server.LocalAddr().(*net.UDPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	return client, to, func() {
		check(r, errors.Join(unix.Close(client), server.Close()))
		<-done
	}
}

// udpFlow sends packets on one connected socket.
func udpFlow(r *rig, packets int) {
	client, to, stop := udpPair(r)
	defer stop()
	check(r, unix.Connect(client, &to))
	payload := make([]byte, 32)
	for range packets {
		if _, err := unix.Write(client, payload); err != nil {
			r.Fatal(err)
		}
	}
}

// udpFlows sends packets to as many addresses of loopback as there are flows: each flow's at once, or one of each
// flow in turn, in an order that no prefetcher guesses, which is the worst for a cache.
func udpFlows(r *rig, flows, packets int, bursts bool) {
	client, to, stop := udpPair(r)
	defer stop()
	payload := make([]byte, 32)
	for n := range flows * packets {
		i := n / packets
		if !bursts {
			i = n * 7919 % flows
		}
		i += 2
		to.Addr = [4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)}
		if err := unix.Sendto(client, payload, 0, &to); err != nil {
			r.Fatal(os.NewSyscallError("sendto", err))
		}
	}
}
