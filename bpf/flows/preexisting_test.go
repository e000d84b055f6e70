package flows

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestPreexisting_TCPIsExactAndKnowsItsRole(t *testing.T) {
	for _, family := range familyNames() {
		for name, after := range map[string]struct {
			data, serverFIN, clientFIN bool
		}{
			"idle since it opened":         {},
			"with data":                    {data: true},
			"half-closed by the server":    {data: true, serverFIN: true},
			"half-closed by the client":    {data: true, clientFIN: true},
			"half-closed without any data": {serverFIN: true},
		} {
			t.Run(family+", "+name, func(t *testing.T) {
				tr := newScope(t)
				client, server := tr.wanted("client"), tr.wanted("server")
				p := connect(tr, client, server, families[family])
				var sent, received uint64
				if after.data {
					exchange(tr, p)
					sent, received = request, response
				}
				if after.serverFIN {
					tr.check(p.server.CloseWrite())
					atEOF(tr, p.client)
				}
				if after.clientFIN {
					tr.check(p.client.CloseWrite())
					atEOF(tr, p.server)
				}
				settle(tr, p)
				tr.open(Options{})

				for _, when := range []string{"live", "closed"} {
					if when == "closed" {
						tr.check(p.client.Close())
						tr.check(p.server.Close())
					}
					c, s := tr.current(client), tr.current(server)
					if when == "closed" {
						c, s = tr.closed(client), tr.closed(server)
					}
					checkPayload(t, c, sent, received)
					checkPayload(t, s, received, sent)
					checkPreexisting(t, p, c, s)
				}
				for _, c := range []*bpftest.Cgroup{client, server} {
					if n := len(tr.of(c,
						func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_NEW })); n != 1 {
						t.Errorf("%d events with phase new, want 1", n)
					}
				}
			})
		}
	}
}

// settle waits until both ends have acknowledged everything.
func settle(tr *trace, p *pair) {
	tr.Helper()
	for _, c := range []*net.TCPConn{p.client, p.server} {
		for tcpInfo(tr, c).Unacked > 0 {
			if err := tr.Context().Err(); err != nil {
				tr.Fatal(err)
			}
		}
	}
}

func checkPreexisting(t *testing.T, p *pair, c, s *event.Flow) {
	t.Helper()
	if c.StartTime != 0 || s.StartTime != 0 {
		t.Errorf("start %d and %d, want unknown", c.StartTime, s.StartTime)
	}
	c.StartTime, s.StartTime = 1, 1 // checkHalves requires a start time
	checkHalves(t, p, c, s)
}

func TestPreexisting_SequenceNumbersAreStable(t *testing.T) {
	// A later trace must report the same sequence numbers, or the halves of a flow would not join.
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	exchange(tr, p)
	settle(tr, p)
	before := map[*bpftest.Cgroup]*event.Flow{client: tr.current(client), server: tr.current(server)}
	tr.stop()
	tr.open(Options{})
	for _, c := range []*bpftest.Cgroup{client, server} {
		a, b := before[c], tr.current(c)
		if bpftest.Hashed(t) {
			b.SocketCookie = a.SocketCookie // each trace makes its own on such a kernel (tcp_cookie)
		}
		if a.SrcIsn != b.SrcIsn || a.DstIsn != b.DstIsn || !b.IsnValid || a.Observed != b.Observed ||
			a.SocketCookie != b.SocketCookie {
			t.Errorf("was %v, is %v", a, b)
		}
	}
}

func TestPreexisting_ListenersChildrenHaveOwner(t *testing.T) {
	for _, kind := range []string{"TCP", "MPTCP"} {
		t.Run(kind, func(t *testing.T) {
			if kind == "MPTCP" {
				mptcpEnabled(t)
			}
			tr := newScope(t)
			server, client := tr.wanted("server"), tr.wanted("client")
			var l net.Listener
			server.Run(t, func() {
				var lc net.ListenConfig
				lc.SetMultipathTCP(kind == "MPTCP")
				var err error
				l, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
				tr.check(err)
			})
			bpftest.CloseAfter(t, l)
			tr.open(Options{})
			tr.flush() // has found the listener
			checkAccepts(tr, l, client, server)
		})
	}
}

func TestMPTCP_ListenersChildrenAreReported(t *testing.T) {
	mptcpEnabled(t)
	tr := newTrace(t, Options{})
	server, client := tr.wanted("server"), tr.wanted("client")
	var l net.Listener
	server.Run(t, func() {
		var lc net.ListenConfig
		lc.SetMultipathTCP(true) // Go's own default
		var err error
		l, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		tr.check(err)
	})
	bpftest.CloseAfter(t, l)
	checkAccepts(tr, l, client, server)
}

// MPTCP may retransmit a part of its own stream as new data of the TCP connection below, which is what flows report.
func TestMPTCP_BothEndsOfASubflowAgree(t *testing.T) {
	mptcpEnabled(t)
	tr := newTrace(t, Options{})
	server, client := tr.wanted("server"), tr.wanted("client")
	var (
		l  net.Listener
		lc net.ListenConfig
		c  net.Conn
		d  net.Dialer
	)
	lc.SetMultipathTCP(true)
	d.SetMultipathTCP(true)
	server.Run(t, func() {
		var err error
		l, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		tr.check(err)
	})
	client.Run(t, func() {
		var err error
		c, err = d.DialContext(t.Context(), "tcp", l.Addr().String())
		tr.check(err)
	})
	s, err := l.Accept()
	tr.check(err)
	p := &pair{client: c.(*net.TCPConn), server: s.(*net.TCPConn), listener: l}
	if multipath, err := p.client.MultipathTCP(); err != nil || !multipath {
		t.Fatalf("the connection is not MPTCP: %v", err)
	}
	exchange(tr, p)
	tr.check(p.client.Close())
	atEOF(tr, p.server)
	tr.check(p.server.Close())
	tr.check(l.Close())
	cf, sf := tr.closed(client), tr.closed(server)
	cn, sn := own(t, cf), own(t, sf)
	if cn.BytesSent < request || sn.BytesSent < response {
		t.Errorf("%d and %d bytes sent, want at least %d and %d", cn.BytesSent, sn.BytesSent, request, response)
	}
	checkPayload(t, cf, sn.BytesReceived, sn.BytesSent)
	checkHalves(t, p, cf, sf)
}

// checkAccepts has the listener accept a plain TCP connection that it only writes to, and checks the server's half.
func checkAccepts(tr *trace, l net.Listener, client, server *bpftest.Cgroup) {
	tr.Helper()
	var c net.Conn
	client.Run(tr, func() {
		var err error
		c, err = net.Dial("tcp", l.Addr().String())
		tr.check(err)
	})
	defer c.Close()
	s, err := l.Accept()
	tr.check(err)
	defer s.Close()
	const size = 123_456
	_, err = s.Write(make([]byte, size))
	tr.check(err)
	_, err = io.CopyN(io.Discard, c, size)
	tr.check(err)
	c.Close()
	s.Close()
	f := tr.closed(server)
	checkPayload(tr.T, f, size, 0)
	if f.Observed != event.Side_SIDE_DST || int(f.Dst.Pid) != os.Getpid() || f.Dst.Comm == "" {
		tr.Errorf("observed %s, owner %v, want this process %d", f.Observed, f.Dst, os.Getpid())
	}
	if got := hostPort(tr.T, f.Dst); got != l.Addr().String() {
		tr.Errorf("server %s, want %s", got, l.Addr())
	}
}

func mptcpEnabled(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("this kernel has no MPTCP: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

func TestPreexisting_SocketThatEntersScope(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := bpftest.NewCgroup(t, "orb8-flows-test/client"), bpftest.NewCgroup(t, "orb8-flows-test/server")
	p := connect(tr, client, server, "127.0.0.1")
	exchange(tr, p)
	settle(tr, p)
	tr.flush()
	if n := len(tr.of(client, everything)) + len(tr.of(server, everything)); n != 0 {
		t.Fatalf("%d events of cgroups that are not in scope:\n%s", n, tr.dump())
	}
	tr.check(tr.scope.SetCgroup(server.ID, true))
	f := tr.current(server)
	checkPayload(t, f, response, request)
	if f.Observed != event.Side_SIDE_DST || !f.RoleKnown || !f.IsnValid || int(f.Dst.Pid) != os.Getpid() {
		t.Errorf("%v", f)
	}
	if n := len(tr.of(client, everything)); n != 0 {
		t.Errorf("%d events of a cgroup that is not in scope", n)
	}
}

func TestPreexisting_UDPHasOwnerAndGuessedRole(t *testing.T) {
	tr := newScope(t)
	client, server := tr.wanted("client"), tr.wanted("server")
	s := listenUDP(tr, server, "127.0.0.1")
	c := dialUDP(tr, client, s.LocalAddr())
	send(tr, c.Write, s, 3, 10)
	tr.open(Options{})
	tr.flush()
	send(tr, c.Write, s, 4, 10)
	for _, f := range []*event.Flow{tr.current(client), tr.current(server)} {
		if f.RoleKnown {
			t.Errorf("%s: the role counts as known", f.Observed)
		}
		mine := f.Src
		if f.Observed == event.Side_SIDE_DST {
			mine = f.Dst
		}
		if int(mine.Pid) != os.Getpid() {
			t.Errorf("%s: owner %d", f.Observed, mine.Pid)
		}
	}
	checkPackets(t, tr.current(client), 4, 40, 0, 0)
	checkPackets(t, tr.current(server), 0, 0, 4, 40)
}

func TestScope_NewContainerIsSeenAtOnce(t *testing.T) {
	tr := newTrace(t, Options{})
	uid := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	tr.check(tr.scope.SetPod(uid, true))
	c := bpftest.NewCgroup(t, "orb8-flows-test/kubepods/pod01020304-0506-0708-090a-0b0c0d0e0f10/container")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.check(err)
	bpftest.CloseAfter(t, l)
	c.Run(t, func() {
		conn, err := net.Dial("tcp", l.Addr().String())
		tr.check(err)
		_, err = fmt.Fprint(conn, "hello")
		tr.check(err)
		conn.Close()
	})
	checkPayload(t, tr.closed(c), 5, 0)
}

func TestScope_RemovedCgroupIsSilent(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	tr.current(client)
	tr.check(tr.scope.SetCgroup(client.ID, false))
	before := len(tr.of(client, everything))
	exchange(tr, p)
	tr.flush()
	tr.check(p.client.Close())
	tr.check(p.server.Close())
	tr.closed(server)
	tr.flush()
	if n := len(tr.of(client, everything)) - before; n != 0 {
		t.Errorf("%d events after it was taken out:\n%s", n, tr.dump())
	}
}
