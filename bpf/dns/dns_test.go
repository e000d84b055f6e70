package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const waitTimeout = 90 * time.Second

func TestMain(m *testing.M) { os.Exit(bpftest.Main(m)) }

// harness is a running probe with a cgroup in scope.
type harness struct {
	*testing.T
	probe *Probe
	scope *scope.Scope
	group *bpftest.Cgroup
	hold  sync.Mutex // locked while the sink shall not take anything

	mu  sync.Mutex
	got []*event.Event
}

func newHarness(t *testing.T, o Options) *harness {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	b := &harness{T: t, scope: s, group: bpftest.NewCgroup(t, "orb8-dns-test")}
	if err := s.SetCgroup(b.group.ID, true); err != nil {
		t.Fatal(err)
	}
	o.Scope, o.CgroupRoot = s, bpftest.CgroupRoot(t)
	if b.probe, err = Open(t.Context(), o); err != nil {
		bpftest.FatalLoad(t, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			b.hold.Lock()
			defer b.hold.Unlock()
			b.mu.Lock()
			defer b.mu.Unlock()
			if cgroup != b.group.ID {
				t.Errorf("an event of the cgroup %d: %v", cgroup, ev)
			}
			b.got = append(b.got, proto.Clone(ev).(*event.Event))
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, b.probe.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// events gives what was reported since the last call.
func (b *harness) events() []*event.Event {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	if err := b.probe.FlushLast(ctx); err != nil {
		b.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = nil
	return got
}

// serve answers queries over UDP and TCP on one address with an address record, queries for nx. with NXDOMAIN, and
// queries for silent. not at all. It splits TCP answers into several segments. It returns the address.
func serve(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	return serveOn(t, netip.AddrPortFrom(netip.MustParseAddr(address), 0))
}

// reserved is for servers whose port a probe has to know before they listen. Nobody else uses this address.
var reserved = netip.MustParseAddrPort("127.53.53.53:10053")

// listen opens a UDP and a TCP socket on one port: any that is free for both, if the address has none.
func listen(t *testing.T, address netip.AddrPort) (net.PacketConn, net.Listener) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // accepted MPTCP sockets do not inherit socket storage
	for tries := 1; ; tries++ {
		u, err := net.ListenPacket("udp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		l, err := lc.Listen(t.Context(), "tcp", u.LocalAddr().String())
		if err == nil {
			return u, l
		}
		// A client's connection may have the port.
		err = errors.Join(err, u.Close())
		if address.Port() != 0 || tries == 20 || !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func serveOn(t *testing.T, address netip.AddrPort) netip.AddrPort {
	t.Helper()
	u, l := listen(t, address)
	var running sync.WaitGroup
	t.Cleanup(func() {
		if err := errors.Join(u.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	running.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			if a := reply(t, b[:n]); a != nil {
				_, _ = u.WriteTo(a, from) // the client may be gone
			}
		}
	})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				for {
					m, err := receive(c)
					if err != nil {
						return
					}
					a := reply(t, m)
					if a == nil {
						continue
					}
					framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)
					for _, piece := range [][]byte{framed[:1], framed[1:9], framed[9:]} {
						_, _ = c.Write(piece) // the client may be gone
					}
				}
			})
		}
	})
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}

func receive(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, m)
	return m, err
}

func reply(t *testing.T, b []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Error(err)
		return nil
	}
	q := m.Questions[0]
	switch name := q.Name.String(); name {
	case "silent.":
		return nil
	case "nx.":
		return build(t, m.ID, true, dnsmessage.RCodeNameError, name, q.Type)
	default:
		return build(t, m.ID, true, 0, name, q.Type, record(name, &dnsmessage.AResource{A: [4]byte{10, 1, 2, 3}}))
	}
}

// ask sends queries on one connection, waiting for each answer.
func ask(t *testing.T, network string, server netip.AddrPort, names ...string) time.Duration {
	t.Helper()
	c, err := net.Dial(network, server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i, name := range names {
		m := build(t, uint16(i), false, 0, name, dnsmessage.TypeA)
		if network == "tcp" {
			m = append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
		}
		if _, err := c.Write(m); err != nil {
			t.Fatal(err)
		}
		if name == "silent." {
			continue
		}
		if network == "tcp" {
			_, err = receive(c)
		} else {
			_, err = c.Read(make([]byte, 4096))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(began)
}

func TestQuery_ReportedWithItsAnswer(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(network+" "+address, func(t *testing.T) {
				server := serve(t, address)
				b := newHarness(t, Options{Ports: []uint16{1, server.Port()}})
				ask(t, network, server, "other.") // not in scope
				var took time.Duration
				b.group.Run(t, func() { took = ask(t, network, server, "a.example.", "nx.", "b.example.", "silent.") })
				got := b.events()
				want := []outcome{
					{outcome: "answered", name: "a.example.", rcode: "NOERROR"},
					{outcome: "answered", name: "nx.", rcode: "NXDOMAIN"},
					{outcome: "answered", name: "b.example.", rcode: "NOERROR"}, {outcome: "pending", name: "silent."},
				}
				if len(got) != len(want) || len(b.probe.Lost()) != 0 {
					t.Fatalf("%v, lost %v; want %v", got, b.probe.Lost(), want)
				}
				for i, ev := range got {
					d := ev.GetDns()
					if d.GetOutcome().Word() != want[i].outcome || d.GetName() != want[i].name ||
						d.GetRcode() != want[i].rcode || d.GetType() != "A" ||
						d.GetAttempts() != 1 || d.GetObserved() != event.Side_SIDE_SRC ||
						d.GetProtocol().Word() != network {
						t.Errorf("%v, want %v", d, want[i])
					}
					if want[i].rcode == "NOERROR" && (d.GetAnswers() != "10.1.2.3" || d.GetAnswerCount() != 1) {
						t.Errorf("the answer is %q", d.GetAnswers())
					}
					if want[i].rcode != "" &&
						(d.LatencyMicros == nil || time.Duration(d.GetLatencyMicros())*time.Microsecond > took) {
						t.Errorf("it took %v µs; all together %v", d.LatencyMicros, took)
					}
					to, _ := netip.AddrFromSlice(d.GetDst().GetAddress())
					if to != server.Addr() || d.GetDst().GetPort() != uint32(server.Port()) ||
						d.GetSrc().GetPid() != uint32(os.Getpid()) || d.GetSrc().GetComm() == "" {
						t.Errorf("%v and %v", d.GetSrc(), d.GetDst())
					}
				}
			})
		}
	}
}

func TestServer_ReportsQueriesAndAnswers(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			server := reserved
			port := server.Port()
			b := newHarness(t, Options{Ports: []uint16{port}})
			b.group.Run(t, func() { serveOn(t, server) })
			ask(t, network, server, "a.example.", "nx.")
			got := b.events()
			if len(got) != 2 {
				t.Fatalf("%v, want two", got)
			}
			for i, rcode := range []string{"NOERROR", "NXDOMAIN"} {
				if d := got[i].GetDns(); d.GetObserved() != event.Side_SIDE_DST || d.GetRcode() != rcode ||
					d.GetDst().GetPid() != uint32(os.Getpid()) ||
					d.GetDst().GetPort() != uint32(port) || d.LatencyMicros == nil {
					t.Errorf("%v, want %s", d, rcode)
				}
			}
		})
	}
}

func TestProbe_CountsAFullRing(t *testing.T) {
	server := serve(t, "127.0.0.1")
	b := newHarness(t, Options{Ports: []uint16{server.Port()}, RingBytes: 4096})
	b.hold.Lock()
	const queries = 50
	names := make([]string, queries)
	for i := range names {
		names[i] = "a.example."
	}
	b.group.Run(t, func() { ask(t, "udp", server, names...) })
	b.hold.Unlock()
	var datagrams uint64
	for _, ev := range b.events() {
		switch d := ev.GetDns(); {
		case d.GetOutcome() == event.DnsOutcome_DNS_OUTCOME_ANSWERED && d.LatencyMicros != nil:
			datagrams += 2
		default:
			datagrams++
		}
	}
	var lost uint64
	for _, l := range b.probe.Lost() {
		lost += l.Count
	}
	if lost == 0 || datagrams+lost != 2*queries {
		t.Errorf("%d datagrams are reported and %d lost of %d", datagrams, lost, 2*queries)
	}
}

// A query that is in flight during a flush, and is retried and answered twice, is one event.
func TestQuery_PendingIsReportedOnce(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bpftest.CloseAfter(t, u)
	server := u.LocalAddr().(*net.UDPAddr).AddrPort()
	b := newHarness(t, Options{Ports: []uint16{server.Port()}})
	var c net.Conn
	b.group.Run(t, func() { c, err = net.Dial("udp", server.String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline := time.Now().Add(waitTimeout)
	if err := errors.Join(u.SetDeadline(deadline), c.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	var client net.Addr
	query := build(t, 1, false, 0, "slow.example.", dnsmessage.TypeA)
	buffer := make([]byte, 512)
	for range 2 {
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
		if _, client, err = u.ReadFrom(buffer); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.probe.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := u.WriteTo(reply(t, query), client); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buffer); err != nil {
			t.Fatal(err)
		}
	}
	got := b.events()
	if len(got) != 1 || got[0].GetDns().GetOutcome() != event.DnsOutcome_DNS_OUTCOME_ANSWERED ||
		got[0].GetDns().GetAttempts() != 2 ||
		got[0].GetDns().LatencyMicros == nil {
		t.Errorf("%v, want one that was answered at the second attempt", got)
	}
}
