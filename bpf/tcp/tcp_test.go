package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// loopback addresses of both families.
var families = map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"}

func exchange(b *harness, p *pair, there, back int) {
	b.Helper()
	for _, m := range []struct {
		from, to *net.TCPConn
		n        int
	}{{p.client, p.server, there}, {p.server, p.client, back}} {
		_, err := m.from.Write(make([]byte, m.n))
		b.check(err)
		_, err = io.ReadFull(m.to, make([]byte, m.n))
		b.check(err)
	}
}

// fails waits until a read fails as wanted.
func fails(b *harness, c *net.TCPConn, want error) {
	b.Helper()
	b.check(c.SetReadDeadline(time.Now().Add(waitTimeout)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
		b.Fatalf("read: %v, want %v", err, want)
	}
}

// inState waits until a socket is in a state.
func inState(b *harness, c *net.TCPConn, want event.TCPState) {
	b.Helper()
	await(b, c, want.String(), func(i *unix.TCPInfo) bool { return i.State == uint8(want) })
}

// await polls a socket's TCP_INFO until a condition holds.
func await(b *harness, c any, what string, so func(*unix.TCPInfo) bool) {
	b.Helper()
	for deadline := time.Now().Add(waitTimeout); !so(b.info(c)); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within %v: %+v", what, waitTimeout, b.info(c))
		}
	}
}

func acknowledged(i *unix.TCPInfo) bool { return i.Unacked == 0 }

// minimumDelayedACK is the least delay of Linux's delayed acknowledgements (TCP_DELACK_MIN), less a tick of the slowest
// timer.
const minimumDelayedACK = 30 * time.Millisecond

// sendAfterClose closes the client and has the server send to it, before or after it acknowledges the FIN.
func sendAfterClose(b *harness, p *pair, acknowledge bool) {
	b.Helper()
	closed := time.Now()
	b.check(p.client.Close())
	fails(b, p.server, io.EOF)
	if acknowledge {
		b.option(p.server, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}
	_, err := p.server.Write(make([]byte, 5))
	b.check(err)
	b.acknowledged = acknowledge || time.Since(closed) > minimumDelayedACK
	inState(b, p.server, event.TCPState_TCP_STATE_CLOSE)
}

func TestEnd_HasItsCause(t *testing.T) {
	const sent, received = 3000, 2000
	// The peer may put off its acknowledgement of the FIN.
	resetAfterFIN := []string{
		"reset in FIN_WAIT1, reset by peer, closed by local, ECONNRESET",
		"reset in FIN_WAIT2, reset by peer, closed by local, ECONNRESET",
	}
	tests := map[string]struct {
		end func(*harness, *pair)
		// Possible events of the two ends. States may depend on whose segment is quicker.
		client, server []string
		// Another possible event of the client, on a machine so slow that the FIN's acknowledgement went first.
		late   string
		unread [2]uint32
	}{
		"the client closes first": {
			end: func(b *harness, p *pair) {
				b.check(p.client.Close())
				fails(b, p.server, io.EOF)
				b.check(p.server.Close())
			},
			client: []string{"closed in FIN_WAIT2, closed by local"},
			server: []string{"closed in LAST_ACK, closed by peer"},
		},
		"the server closes first": {
			end: func(b *harness, p *pair) {
				b.check(p.server.Close())
				fails(b, p.client, io.EOF)
				b.check(p.client.Close())
			},
			client: []string{"closed in LAST_ACK, closed by peer"},
			server: []string{"closed in FIN_WAIT2, closed by local"},
		},
		"both shut down and hold on to the socket": {
			end: func(b *harness, p *pair) {
				b.check(p.client.CloseWrite())
				fails(b, p.server, io.EOF)
				b.check(p.server.CloseWrite())
				fails(b, p.client, io.EOF)
			},
			client: []string{"closed in FIN_WAIT2, closed by local"},
			server: []string{"closed in LAST_ACK, closed by peer"},
		},
		"the client lingers for 0 s": {
			end: func(b *harness, p *pair) {
				b.check(p.client.SetLinger(0))
				b.check(p.client.Close())
				fails(b, p.server, syscall.ECONNRESET)
			},
			client: []string{"reset in ESTABLISHED, reset by local, TCP_CAUSE_LINGER"},
			server: []string{"reset in ESTABLISHED, reset by peer, ECONNRESET"},
		},
		"the server closes with bytes unread": {
			end: func(b *harness, p *pair) {
				_, err := p.client.Write(make([]byte, 17))
				b.check(err)
				await(b, p.server, "all has come", func(i *unix.TCPInfo) bool { return i.Bytes_received == sent+17 })
				b.check(p.server.Close())
				fails(b, p.client, syscall.ECONNRESET)
			},
			client: []string{"reset in ESTABLISHED, reset by peer, ECONNRESET"},
			server: []string{"reset in ESTABLISHED, reset by local, TCP_CAUSE_UNREAD"},
			unread: [2]uint32{0, 17},
		},
		"the server resets after the client's FIN": {
			end: func(b *harness, p *pair) {
				b.check(p.client.CloseWrite())
				fails(b, p.server, io.EOF)
				b.check(p.server.SetLinger(0))
				b.check(p.server.Close())
				fails(b, p.client, syscall.ECONNRESET)
			},
			client: resetAfterFIN,
			server: []string{"reset in CLOSE_WAIT, reset by local, closed by peer, TCP_CAUSE_LINGER"},
		},
		"the server resets a client that wants to hear no more": {
			end: func(b *harness, p *pair) {
				b.check(p.client.CloseWrite())
				b.check(p.client.CloseRead())
				fails(b, p.server, io.EOF)
				b.check(p.server.SetLinger(0))
				b.check(p.server.Close())
				inState(b, p.client, event.TCPState_TCP_STATE_CLOSE)
			},
			client: resetAfterFIN,
			server: []string{"reset in CLOSE_WAIT, reset by local, closed by peer, TCP_CAUSE_LINGER"},
		},
		"the server sends to a client that wants to hear no more": {
			end: func(b *harness, p *pair) {
				b.check(p.client.CloseWrite())
				b.check(p.client.CloseRead())
				fails(b, p.server, io.EOF)
				_, err := p.server.Write(make([]byte, 5))
				b.check(err)
				inState(b, p.server, event.TCPState_TCP_STATE_CLOSE)
			},
			client: []string{
				"reset in FIN_WAIT1, reset by local, closed by local, TCP_CAUSE_LATE_DATA, ECONNRESET",
				"reset in FIN_WAIT2, reset by local, closed by local, TCP_CAUSE_LATE_DATA, ECONNRESET",
			},
			server: []string{"reset in CLOSE_WAIT, reset by peer, closed by peer, EPIPE"},
		},
		"the server sends to a client that is gone, with its acknowledgement of the FIN": {
			end:    func(b *harness, p *pair) { sendAfterClose(b, p, false) },
			client: []string{"reset in FIN_WAIT2, reset by local, closed by local, TCP_CAUSE_LATE_DATA"},
			late:   "closed in FIN_WAIT2, closed by local",
			server: []string{"reset in CLOSE_WAIT, reset by peer, closed by peer, EPIPE"},
		},
		"the server sends to a client that is gone, after its acknowledgement of the FIN": {
			end:    func(b *harness, p *pair) { sendAfterClose(b, p, true) },
			client: []string{"closed in FIN_WAIT2, closed by local"},
			server: []string{"reset in CLOSE_WAIT, reset by peer, closed by peer, EPIPE"},
		},
		"their FINs cross": {
			end: func(b *harness, p *pair) {
				hear := b.deafen(p.client)
				hearToo := b.deafen(p.server)
				b.check(p.client.CloseWrite())
				b.check(p.server.CloseWrite())
				hear()
				hearToo()
			},
			client: []string{"closed in FIN_WAIT2, closed by local", "closed in CLOSING, closed by both"},
			server: []string{"closed in FIN_WAIT2, closed by local", "closed in CLOSING, closed by both"},
		},
		"the client hears no answer to data": {
			end: func(b *harness, p *pair) {
				b.deafen(p.server)
				b.option(p.client, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 600)
				_, err := p.client.Write(make([]byte, 100))
				b.check(err)
				fails(b, p.client, syscall.ETIMEDOUT)
				b.check(p.server.SetLinger(0))
				b.check(p.server.Close())
			},
			client: []string{"timeout in ESTABLISHED, TCP_CAUSE_UNACKNOWLEDGED, ETIMEDOUT"},
			server: []string{"reset in ESTABLISHED, reset by local, TCP_CAUSE_LINGER"},
		},
		"the client hears no answer to probes": {
			end: func(b *harness, p *pair) {
				b.deafen(p.server)
				b.check(p.client.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second,
					Interval: time.Second, Count: 1}))
				fails(b, p.client, syscall.ETIMEDOUT)
				b.check(p.server.SetLinger(0))
				b.check(p.server.Close())
			},
			client: []string{"timeout in ESTABLISHED, TCP_CAUSE_PROBES, ETIMEDOUT"},
			server: []string{"reset in ESTABLISHED, reset by local, TCP_CAUSE_LINGER"},
		},
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	for family, address := range families {
		for name, test := range tests {
			t.Run(family+", "+name, func(t *testing.T) {
				b := newHarness(t, Options{})
				began := time.Now()
				p := b.connect(address)
				exchange(b, p, sent, received)
				test.end(b, p)
				c, s := b.last(b.client), b.last(b.server)
				took := time.Since(began)
				if test.late != "" && b.acknowledged {
					test.client = append(test.client, test.late)
				}
				if crossed := test.client[len(test.client)-1]; strings.HasSuffix(crossed, "both") &&
					brief(c) != crossed && brief(s) != crossed {
					t.Errorf("%s and %s, want one at least %s", brief(c), brief(s), crossed)
				}
				for _, end := range []struct {
					name     string
					got      *event.Tcp
					all      []*event.Tcp
					want     []string
					opening  event.TCPOutcome
					observed event.Side
					received uint64
					unread   uint32
				}{
					{"client", c, b.of(b.client), test.client, event.TCPOutcome_TCP_OUTCOME_CONNECTED,
						event.Side_SIDE_SRC, received, test.unread[0]},
					{"server", s, b.of(b.server), test.server, event.TCPOutcome_TCP_OUTCOME_ACCEPTED,
						event.Side_SIDE_DST, sent + uint64(test.unread[1]), test.unread[1]},
				} {
					if !slices.Contains(end.want, brief(end.got)) {
						t.Errorf("%s: %s, want %s", end.name, brief(end.got), strings.Join(end.want, " or "))
					}
					first := end.all[0]
					if first.Outcome != end.opening || first.SocketCookie != end.got.SocketCookie ||
						first.SocketCookie == 0 {
						t.Errorf("%s begins with %v, want %s of the same socket", end.name, first, end.opening)
					}
					ends := 0
					for _, e := range end.all {
						own := e.Src
						if e.Observed == event.Side_SIDE_DST {
							own = e.Dst
						}
						if e.Observed != end.observed || !e.RoleKnown || own.Pid != uint32(os.Getpid()) ||
							own.Comm != strings.TrimSpace(string(comm)) {
							t.Errorf("%s: %v of %d %s", end.name, e, os.Getpid(), comm)
						}
						if hostPort(t, e.Src) != p.client.LocalAddr().String() ||
							hostPort(t, e.Dst) != p.listener.Addr().String() {
							t.Errorf("%s: %v -> %v, want %s -> %s", end.name, e.Src, e.Dst, p.client.LocalAddr(),
								p.listener.Addr())
						}
						if e.Outcome != end.opening && e.Outcome != event.TCPOutcome_TCP_OUTCOME_RETRANSMITS {
							ends++
						}
					}
					if ends != 1 {
						t.Errorf("%s: %d ends among %v", end.name, ends, end.all)
					}
					e := end.got
					if e.GetBytesReceived() != end.received || e.UnreadBytes == nil || *e.UnreadBytes != end.unread {
						t.Errorf("%s: %d bytes received and %v unread, want %d and %d", end.name, e.GetBytesReceived(),
							e.UnreadBytes, end.received, end.unread)
					}
					if e.DurationMicros == nil || *e.DurationMicros == 0 ||
						*e.DurationMicros > uint64(took.Microseconds()) || e.SrttMicros == nil {
						t.Errorf("%s: it took %v, the test %s; round trip %v", end.name, e.DurationMicros, took,
							e.SrttMicros)
					}
				}
				if h := b.of(b.client)[0].HandshakeMicros; h == nil || *h == 0 || *h > uint64(took.Microseconds()) ||
					b.of(b.server)[0].HandshakeMicros != nil {
					t.Errorf("handshake of %v µs", h)
				}
				if lost := b.probe.Lost(); len(lost) > 0 {
					t.Errorf("lost %v", lost)
				}
			})
		}
	}
}

func TestAttempt_HasItsCause(t *testing.T) {
	refuse := func(b *harness, address string) string {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		b.check(err)
		defer func() { b.check(l.Close()) }()
		return l.Addr().String()
	}
	silent := func(b *harness, address string) string {
		l := b.listen(address)
		b.deafen(l)
		return l.Addr().String()
	}
	for name, test := range map[string]struct {
		to     func(*harness, string) string
		dialer net.Dialer
		want   string
		// The SYN is retransmitted.
		retransmitted bool
		least         time.Duration
	}{
		"a port that is closed": {refuse, net.Dialer{},
			"refused in SYN_SENT, reset by peer, ECONNREFUSED", false, 0},
		"a silent peer": {silent, synCount(1),
			"timeout in SYN_SENT, TCP_CAUSE_UNACKNOWLEDGED, ETIMEDOUT", true, time.Second},
		"a program that waits for 100 ms": {silent, net.Dialer{Timeout: 100 * time.Millisecond},
			"abandoned in SYN_SENT", false, 100 * time.Millisecond},
		"a program that waits for 2 s": {silent, net.Dialer{Timeout: 2 * time.Second}, "abandoned in SYN_SENT",
			true, 2 * time.Second},
	} {
		for family, address := range families {
			t.Run(name+", "+family, func(t *testing.T) {
				b := newHarness(t, Options{})
				to := test.to(b, address)
				sent := countSYNs(b, to)
				began := time.Now()
				if _, err := b.dial(to, test.dialer); err == nil {
					t.Fatal("it connected")
				}
				took := time.Since(began)
				got := b.last(b.client)
				if brief(got) != test.want {
					t.Errorf("%s, want %s", brief(got), test.want)
				}
				syns := sent() - 1
				if syns > 0 != test.retransmitted {
					t.Errorf("%d SYNs were retransmitted", syns)
				}
				if got.SynRetransmits == nil || *got.SynRetransmits != syns || got.GetRetransmits() != uint64(syns) {
					t.Errorf("%v, want %d SYNs retransmitted", got, syns)
				}
				// The dialer's time begins before it has a socket, which may take a while in a virtual machine.
				if d := time.Duration(*got.DurationMicros) * time.Microsecond; d < test.least/2 || d > took {
					t.Errorf("it took %s, the dialer %s", d, took)
				}
				if hostPort(t, got.Dst) != to || got.Src.Port == 0 || got.Src.Pid != uint32(os.Getpid()) ||
					got.Observed != event.Side_SIDE_SRC || got.SrttMicros != nil {
					t.Errorf("%v", got)
				}
				var retransmits uint32
				all := b.of(b.client)
				for _, e := range all[:len(all)-1] {
					if e.Outcome != event.TCPOutcome_TCP_OUTCOME_RETRANSMITS ||
						e.State != event.TCPState_TCP_STATE_SYN_SENT {
						t.Errorf("%v", e)
					}
					retransmits += e.GetNewRetransmits()
				}
				if retransmits != syns {
					t.Errorf("the events have %d retransmits, want %d", retransmits, syns)
				}
			})
		}
	}
}

// A program that reads SO_ERROR clears it: before Linux 6.11 often before the connection's state changes. Reading it in
// a loop on another CPU does so on later kernels, too.
func TestAttempt_TimeoutWithErrorRead(t *testing.T) {
	const attempts = 30
	b := newHarness(t, Options{})
	l := b.listen("127.0.0.1")
	b.deafen(l)
	to := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	var waiting []int
	b.client.Run(t, func() {
		bpftest.OnThread(t, "connect", func() error {
			if err := pin(0); err != nil {
				return err
			}
			for range attempts {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				b.Cleanup(func() { b.check(unix.Close(fd)) })
				waiting = append(waiting, fd)
				// Ends the attempt right after the first retransmit of the SYN.
				err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 500)
				if err = errors.Join(err, unix.Connect(fd, to)); !errors.Is(err, unix.EINPROGRESS) {
					return fmt.Errorf("connect: %w", err)
				}
			}
			return nil
		})
	})
	bpftest.OnThread(t, "read SO_ERROR", func() error {
		if err := pin(1); err != nil {
			return err
		}
		for deadline := time.Now().Add(waitTimeout); len(waiting) > 0; {
			for i := len(waiting) - 1; i >= 0; i-- {
				errno, err := unix.GetsockoptInt(waiting[i], unix.SOL_SOCKET, unix.SO_ERROR)
				if err != nil {
					return err
				}
				if errno != 0 {
					waiting = slices.Delete(waiting, i, i+1)
				}
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of %d attempts have not timed out", len(waiting), attempts)
			}
		}
		return nil
	})
	outcomes := map[string]int{}
	for deadline := time.Now().Add(waitTimeout); ; {
		b.flush()
		clear(outcomes)
		ends := 0
		for _, e := range b.of(b.client) {
			if e.Outcome != event.TCPOutcome_TCP_OUTCOME_RETRANSMITS {
				outcomes[brief(e)]++
				ends++
			}
		}
		if ends >= attempts || time.Now().After(deadline) {
			break
		}
	}
	const want = "timeout in SYN_SENT, TCP_CAUSE_UNACKNOWLEDGED, ETIMEDOUT"
	if outcomes[want] != attempts || len(outcomes) != 1 {
		t.Errorf("%v, want %d times %s", outcomes, attempts, want)
	}
}

// pin keeps the calling thread on the n-th of its CPUs, or on the last where there are fewer.
func pin(n int) error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	n = min(n, allowed.Count()-1)
	for cpu := 0; one.Count() == 0; cpu++ {
		if allowed.IsSet(cpu) {
			if n--; n < 0 {
				one.Set(cpu)
			}
		}
	}
	return unix.SchedSetaffinity(0, &one)
}

// countSYNs returns a function that counts the SYNs to an address since.
func countSYNs(b *harness, to string) func() uint32 {
	b.Helper()
	a := netip.MustParseAddrPort(to)
	family := unix.AF_INET
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	tap, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	b.check(err)
	b.Cleanup(func() { b.check(unix.Close(tap)) })
	return func() (n uint32) {
		packet := make([]byte, 1500)
		for {
			size, _, err := unix.Recvfrom(tap, packet, 0)
			if err != nil {
				return n
			}
			segment := packet[:size]
			if family == unix.AF_INET {
				segment = segment[4*(segment[0]&15):]
			}
			if flags := segment[13]; binary.BigEndian.Uint16(segment[2:]) == a.Port() && flags&2 != 0 {
				n++
			}
		}
	}
}

func TestAttempt_WithoutFreePortFails(t *testing.T) {
	b := newHarness(t, Options{})
	// Of this test's network namespace, whose only port is then taken.
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	l := b.listen("127.0.0.1")
	before, err := os.ReadFile(file)
	b.check(err)
	b.check(os.WriteFile(file, []byte("50001 50001"), 0))
	defer func() { b.check(os.WriteFile(file, before, 0)) }()
	if _, err := b.dial(l.Addr().String(), net.Dialer{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.dial(l.Addr().String(), net.Dialer{}); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Fatalf("dial: %v", err)
	}
	got := b.last(b.client)
	if brief(got) != "failed in SYN_SENT" || hostPort(t, got.Dst) != l.Addr().String() || got.Src.Port != 0 ||
		got.Src.Pid != uint32(os.Getpid()) {
		t.Errorf("%s: %v", brief(got), got)
	}
}

func TestEnd_NotAccepted(t *testing.T) {
	b := newHarness(t, Options{})
	l := b.listen("127.0.0.1")
	c, err := b.dial(l.Addr().String(), net.Dialer{})
	b.check(err)
	b.check(l.Close())
	fails(b, c, syscall.ECONNRESET)
	if got := brief(b.last(b.server)); got != "reset in ESTABLISHED, reset by local, TCP_CAUSE_NOT_ACCEPTED" {
		t.Errorf("server: %s", got)
	}
	if got := brief(b.last(b.client)); got != "reset in ESTABLISHED, reset by peer, ECONNRESET" {
		t.Errorf("client: %s", got)
	}
}

func TestAttempt_ICMPErrors(t *testing.T) {
	for code, want := range map[byte]string{
		1: "unreachable in SYN_SENT, TCP_CAUSE_ICMP, EHOSTUNREACH", // host unreachable
		3: "refused in SYN_SENT, TCP_CAUSE_ICMP, ECONNREFUSED",     // port unreachable
	} {
		t.Run(want, func(t *testing.T) {
			b := newHarness(t, Options{})
			// Raw sockets get a copy of the SYN over loopback. The kernel cannot tell our answer from a router's.
			tap, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
			b.check(err)
			defer func() { b.check(unix.Close(tap)) }()
			router, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
			b.check(err)
			defer func() { b.check(unix.Close(router)) }()
			l := b.listen("127.0.0.1")
			b.deafen(l)
			answered := make(chan error, 1)
			go func() {
				packet := make([]byte, 1500)
				n, _, err := unix.Recvfrom(tap, packet, 0)
				if err == nil {
					message := append([]byte{3, code, 0, 0, 0, 0, 0, 0}, packet[:min(n, 28)]...)
					sum := checksum(message)
					message[2], message[3] = byte(sum>>8), byte(sum)
					err = unix.Sendto(router, message, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
				}
				answered <- err
			}()
			if _, err := b.dial(l.Addr().String(), net.Dialer{Timeout: waitTimeout}); err == nil {
				t.Fatal("it connected")
			}
			b.check(<-answered)
			if got := brief(b.last(b.client)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// checksum is the internet checksum.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func TestEnd_ProcessKilledWithUnreadBytes(t *testing.T) {
	b := newHarness(t, Options{})
	l := b.listen("127.0.0.1")
	cmd := bpftest.Child(t, "deaf client", b.client)
	cmd.Args = []string{"deaf", l.Addr().String()}
	b.check(cmd.Start())
	s, err := l.Accept()
	b.check(err)
	bpftest.CloseAfter(t, s)
	_, err = io.ReadFull(s, make([]byte, 1))
	b.check(err)
	_, err = s.Write(make([]byte, 33))
	b.check(err)
	await(b, s, "all is acknowledged", acknowledged)
	b.check(cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Fatal("it ended by itself")
	}
	got := b.last(b.client)
	if brief(got) != "reset in ESTABLISHED, reset by local, TCP_CAUSE_UNREAD" || !got.ProcessEnded ||
		got.GetUnreadBytes() != 33 || got.Src.Pid != uint32(cmd.Process.Pid) {
		t.Errorf("%s: %v", brief(got), got)
	}
}

func TestEnd_KilledSocket(t *testing.T) {
	b := newHarness(t, Options{})
	p := b.connect("127.0.0.1")
	err := netlink.SocketDestroy(p.client.LocalAddr(), p.client.RemoteAddr())
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) && b.info(p.client).State == established {
		t.Skip("this kernel cannot kill sockets (CONFIG_INET_DIAG_DESTROY)")
	}
	b.check(err)
	fails(b, p.client, syscall.ECONNABORTED)
	if got := brief(b.last(b.client)); got != "reset in ESTABLISHED, reset by local, TCP_CAUSE_KILLED, ECONNABORTED" {
		t.Errorf("client: %s", got)
	}
	if got := brief(b.last(b.server)); got != "reset in ESTABLISHED, reset by peer, ECONNRESET" {
		t.Errorf("server: %s", got)
	}
}

func TestMPTCP_ReportsSubflows(t *testing.T) {
	for name, both := range map[string]bool{"MPTCP": true, "fallen back to TCP": false} {
		for preexisting := range 2 {
			t.Run(fmt.Sprintf("%s, preexisting listener: %v", name, preexisting == 1), func(t *testing.T) {
				b := newScope(t)
				if preexisting == 0 {
					b.open(Options{})
				}
				var l net.Listener
				b.server.Run(t, func() {
					var lc net.ListenConfig
					lc.SetMultipathTCP(true)
					var err error
					l, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
					b.check(err)
				})
				bpftest.CloseAfter(t, l)
				if preexisting == 1 {
					b.open(Options{})
				}
				var d net.Dialer
				d.SetMultipathTCP(both)
				c, err := b.dial(l.Addr().String(), d)
				b.check(err)
				if is, err := c.MultipathTCP(); err != nil || is != both {
					t.Skipf("this kernel has no MPTCP: %v, %v", is, err)
				}
				conn, err := l.Accept()
				b.check(err)
				s := conn.(*net.TCPConn)
				bpftest.CloseAfter(t, s)
				exchange(b, &pair{client: c, server: s}, 3000, 2000)
				b.check(c.Close())
				fails(b, s, io.EOF)
				b.check(s.Close())
				for name, end := range map[string]struct {
					in      *bpftest.Cgroup
					first   event.TCPOutcome
					sent    uint64
					closer  event.TCPEnd
					process func(*event.Tcp) *event.Endpoint
				}{
					"client": {b.client, event.TCPOutcome_TCP_OUTCOME_CONNECTED, 3000, event.TCPEnd_TCP_END_LOCAL,
						(*event.Tcp).GetSrc},
					"server": {b.server, event.TCPOutcome_TCP_OUTCOME_ACCEPTED, 2000, event.TCPEnd_TCP_END_PEER,
						(*event.Tcp).GetDst},
				} {
					last := b.last(end.in)
					all := b.of(end.in)
					if len(all) != 2 || all[0].Outcome != end.first || last.GetBytesSent() != end.sent {
						t.Errorf("%s: %v", name, all)
					}
					if !both && (last.Outcome != event.TCPOutcome_TCP_OUTCOME_CLOSED || last.ClosedBy != end.closer) {
						t.Errorf("%s: %s", name, brief(last))
					}
					for _, e := range all {
						if own := end.process(e); own.Pid != uint32(os.Getpid()) {
							t.Errorf("%s: %s is of process %d", name, brief(e), own.Pid)
						}
					}
					t.Logf("%s: %s", name, brief(last))
				}
			})
		}
	}
}

func TestRetransmits_OneEventPerInterval(t *testing.T) {
	b := newHarness(t, Options{})
	p := b.connect("127.0.0.1")
	hear := b.deafen(p.server)
	_, err := p.client.Write(make([]byte, 1000))
	b.check(err)
	await(b, p.client, "3 retransmits", func(i *unix.TCPInfo) bool { return i.Total_retrans >= 3 })
	before := b.info(p.client).Total_retrans
	b.flush()
	b.flush() // an event only if a segment was retransmitted meanwhile
	var reported uint32
	n := 0
	for _, e := range b.of(b.client)[1:] {
		if e.Outcome != event.TCPOutcome_TCP_OUTCOME_RETRANSMITS || e.State != event.TCPState_TCP_STATE_ESTABLISHED ||
			e.NewRetransmits == nil {
			t.Fatalf("%v", e)
		}
		reported += *e.NewRetransmits
		n++
	}
	if after := b.info(p.client).Total_retrans; reported < before || reported > after || n > 1+int(after-before) {
		t.Errorf("%d events of %d retransmits; the kernel counted %d before and %d after", n, reported, before, after)
	}
	hear()
	_, err = io.ReadFull(p.server, make([]byte, 1000))
	b.check(err)
	await(b, p.client, "all is acknowledged", acknowledged)
	total := b.info(p.client).Total_retrans
	b.check(p.client.Close())
	b.check(p.server.Close())
	end := b.last(b.client)
	reported = 0
	for _, e := range b.of(b.client) {
		reported += e.GetNewRetransmits()
	}
	if end.GetRetransmits() != uint64(total) || reported != total || end.GetBytesSent() != 1000 ||
		*end.SynRetransmits != 0 {
		t.Errorf("%v at the end and %d before, the kernel counted %d", end, reported, total)
	}
}

func TestPreexisting_HasItsProcess(t *testing.T) {
	for _, end := range []string{"FIN", "RST"} {
		t.Run(end, func(t *testing.T) {
			b := newScope(t)
			p := b.connect("127.0.0.1")
			exchange(b, p, 300, 200)
			b.open(Options{})
			if end == "RST" {
				b.check(p.client.SetLinger(0))
			}
			b.check(p.client.Close())
			if end == "FIN" {
				fails(b, p.server, io.EOF)
			} else {
				fails(b, p.server, syscall.ECONNRESET)
			}
			b.check(p.server.Close())
			c, s := b.last(b.client), b.last(b.server)
			for _, e := range []*event.Tcp{c, s} {
				own := e.Src
				if e.Observed == event.Side_SIDE_DST {
					own = e.Dst
				}
				if e.DurationMicros != nil || e.HandshakeMicros != nil || e.SynRetransmits != nil ||
					own.Pid != uint32(os.Getpid()) || !e.RoleKnown {
					t.Errorf("%v", e)
				}
			}
			if c.Observed != event.Side_SIDE_SRC || c.GetBytesSent() != 300 || c.GetBytesReceived() != 200 ||
				s.Observed != event.Side_SIDE_DST || s.GetBytesSent() != 200 {
				t.Errorf("client %v\nserver %v", c, s)
			}
			want := map[string][2]string{
				"FIN": {"closed in FIN_WAIT2, closed by local", "closed in LAST_ACK, closed by peer"},
				"RST": {"reset in ESTABLISHED, reset by local, TCP_CAUSE_LINGER",
					"reset in ESTABLISHED, reset by peer, ECONNRESET"},
			}[end]
			if brief(c) != want[0] || brief(s) != want[1] {
				t.Errorf("%s and %s, want %s", brief(c), brief(s), want)
			}
		})
	}
}

func TestProbe_CountsAFullRing(t *testing.T) {
	b := newHarness(t, Options{RingBytes: 1}) // a page
	b.held.Lock()
	l := b.listen("127.0.0.1")
	const connections = 100
	for range connections {
		c, err := b.dial(l.Addr().String(), net.Dialer{})
		b.check(err)
		b.check(c.SetLinger(0))
		b.check(c.Close())
	}
	b.held.Unlock()
	b.flush()
	delivered := len(b.of(b.client)) + len(b.of(b.server))
	var gone uint64
	for _, n := range b.probe.Lost() {
		if n.Stage != event.LossStage_LOSS_STAGE_KERNEL_BUFFER {
			t.Errorf("%v", n)
		}
		gone += n.Count
	}
	if gone == 0 || delivered == 0 || delivered+int(gone) != 4*connections {
		t.Errorf("%d delivered and %d lost of %d", delivered, gone, 4*connections)
	}
}

func TestScope_OthersAreNotReported(t *testing.T) {
	b := newHarness(t, Options{})
	b.check(b.scope.SetCgroup(b.client.ID, false))
	p := b.connect("127.0.0.1")
	b.check(p.client.Close())
	fails(b, p.server, io.EOF)
	b.check(p.server.Close())
	b.last(b.server)
	if got := b.of(b.client); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func hostPort(t *testing.T, e *event.Endpoint) string {
	t.Helper()
	return (&net.TCPAddr{IP: e.Address, Port: int(e.Port)}).String()
}
