package flows

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	request  = 1_000_000
	response = 600_001
)

// exchange sends request bytes one way and response bytes the other, at once, and reads both to the last byte.
func exchange(tr *trace, p *pair) {
	tr.Helper()
	var wg sync.WaitGroup
	move := func(from, to *net.TCPConn, n int64) {
		wg.Go(func() {
			if _, err := from.Write(make([]byte, n)); err != nil {
				tr.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, to, n); err != nil {
				tr.Error(err)
			}
		})
	}
	move(p.client, p.server, request)
	move(p.server, p.client, response)
	wg.Wait()
}

// atEOF reads until the peer's FIN, and fails on data.
func atEOF(tr *trace, c *net.TCPConn) {
	tr.Helper()
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		tr.Fatalf("read %d bytes, %v, want the end", n, err)
	}
}

func TestTCPPayloadIsExactHoweverItEnds(t *testing.T) {
	var (
		open    = []event.TCPState{event.TCPState_TCP_STATE_ESTABLISHED}
		finSent = []event.TCPState{event.TCPState_TCP_STATE_FIN_WAIT1, event.TCPState_TCP_STATE_FIN_WAIT2}
		finCame = []event.TCPState{event.TCPState_TCP_STATE_CLOSE_WAIT}
		// After close(2) the socket ends at FIN_WAIT2, and a timewait minisocket waits for the peer's FIN.
		closedFirst  = []event.TCPState{event.TCPState_TCP_STATE_FIN_WAIT2, event.TCPState_TCP_STATE_TIME_WAIT}
		closedSecond = []event.TCPState{event.TCPState_TCP_STATE_LAST_ACK}
	)
	ends := map[string]struct {
		end func(*trace, *pair)
		// The last states that the two ends may report. They depend on whose segment is quicker.
		client, server []event.TCPState
	}{
		"the client closes first": {func(tr *trace, p *pair) {
			tr.check(p.client.Close())
			atEOF(tr, p.server)
			tr.check(p.server.Close())
		}, closedFirst, closedSecond},
		"the server closes first": {func(tr *trace, p *pair) {
			tr.check(p.server.Close())
			atEOF(tr, p.client)
			tr.check(p.client.Close())
		}, closedSecond, closedFirst},
		"the client resets": {func(tr *trace, p *pair) {
			tr.check(p.client.SetLinger(0))
			tr.check(p.client.Close())
			if _, err := p.server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				tr.Fatalf("read: %v, want a reset", err)
			}
			tr.check(p.server.Close())
		}, open, open},
		"the server resets after the client's FIN": {func(tr *trace, p *pair) {
			tr.check(p.client.CloseWrite())
			atEOF(tr, p.server)
			tr.check(p.server.SetLinger(0))
			tr.check(p.server.Close())
			if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				tr.Fatalf("read: %v, want a reset", err)
			}
			tr.check(p.client.Close())
		}, finSent, finCame},
		"half-closed by the server for a while": {func(tr *trace, p *pair) {
			tr.check(p.server.CloseWrite())
			atEOF(tr, p.client)
			tr.check(p.client.CloseRead()) // shutdown(SHUT_RD) is no FIN and must not be taken for one
			tr.check(p.client.Close())
			atEOF(tr, p.server)
			tr.check(p.server.Close())
		}, closedSecond, closedFirst},
		"with shutdown for reading only, then a reset": {func(tr *trace, p *pair) {
			tr.check(p.client.CloseRead())
			tr.check(p.server.CloseRead())
			tr.check(p.client.SetLinger(0))
			tr.check(p.client.Close())
			tr.check(p.server.Close())
		}, open, slices.Concat(open, finSent)},
	}
	for _, family := range familyNames() {
		for name, test := range ends {
			t.Run(family+", "+name, func(t *testing.T) {
				tr := newTrace(t, Options{})
				client, server := tr.wanted("client"), tr.wanted("server")
				p := connect(tr, client, server, families[family])
				exchange(tr, p)
				test.end(tr, p)

				c, s := tr.closed(client), tr.closed(server)
				checkHalves(t, p, c, s)
				checkPayload(t, c, request, response)
				checkPayload(t, s, response, request)
				if !slices.Contains(test.client, c.State) {
					t.Errorf("the client ended in %s, want %s", c.State, test.client)
				}
				if !slices.Contains(test.server, s.State) {
					t.Errorf("the server ended in %s, want %s", s.State, test.server)
				}
			})
		}
	}
}

// checkHalves checks that two halves are the two ends of this connection, and can be joined.
func checkHalves(t *testing.T, p *pair, c, s *event.Flow) {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*event.Flow{c, s} {
		if f.Protocol != event.Protocol_PROTOCOL_TCP {
			t.Errorf("protocol %s", f.Protocol)
		}
		if src, dst := hostPort(t, f.Src), hostPort(t, f.Dst); src != p.client.LocalAddr().String() ||
			dst != p.client.RemoteAddr().String() {
			t.Errorf("%s → %s, want %s → %s", src, dst, p.client.LocalAddr(), p.client.RemoteAddr())
		}
		mine, other := f.Src, f.Dst
		if f.Observed == event.Side_SIDE_DST {
			mine, other = other, mine
		}
		if int(mine.Pid) != os.Getpid() || mine.Comm != strings.TrimSpace(string(comm)) || other.Pid != 0 ||
			other.Comm != "" {
			t.Errorf("%s: owner %d %q, other %d %q, want %d %q and none", f.Observed, mine.Pid, mine.Comm, other.Pid,
				other.Comm, os.Getpid(), comm)
		}
		if f.SocketCookie == 0 {
			t.Error("no cookie")
		}
		if f.StartTime == 0 || f.LastTime < f.StartTime {
			t.Errorf("start %d, last %d", f.StartTime, f.LastTime)
		}
	}
	if c.Observed != event.Side_SIDE_SRC || s.Observed != event.Side_SIDE_DST || !c.RoleKnown || !s.RoleKnown {
		t.Errorf("observed %s and %s, want SRC and DST", c.Observed, s.Observed)
	}
	if !c.IsnValid || !s.IsnValid || c.SrcIsn != s.SrcIsn || c.DstIsn != s.DstIsn {
		t.Errorf("sequence numbers %d, %d (%v) on the client and %d, %d (%v) on the server",
			c.SrcIsn, c.DstIsn, c.IsnValid, s.SrcIsn, s.DstIsn, s.IsnValid)
	}
}

func checkPayload(t *testing.T, f *event.Flow, sent, received uint64) {
	t.Helper()
	if n := own(t, f); n.BytesSent != sent || n.BytesReceived != received {
		t.Errorf("%s: %d bytes sent and %d received, want %d and %d", f.Observed, n.BytesSent, n.BytesReceived, sent,
			received)
	}
}

func TestTCPCountersAreTheKernelsOwn(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	exchange(tr, p)
	for name, end := range map[string]struct {
		conn *net.TCPConn
		half func() *event.Flow
	}{
		"client": {p.client, func() *event.Flow { return tr.current(client) }},
		"server": {p.server, func() *event.Flow { return tr.current(server) }},
	} {
		// A late acknowledgement may change the counters once or twice: compare when they stood still meanwhile.
		var f *event.Flow
		info := tcpInfo(tr, end.conn)
		for before := (unix.TCPInfo{}); before.Segs_in != info.Segs_in || before.Segs_out != info.Segs_out ||
			before.Rtt != info.Rtt; {
			before = info
			f = end.half()
			info = tcpInfo(tr, end.conn)
		}
		n := own(t, f)
		if n.PacketsSent != uint64(info.Segs_out) || n.PacketsReceived != uint64(info.Segs_in) {
			t.Errorf("%s: %d segments sent and %d received, TCP_INFO says %d and %d",
				name, n.PacketsSent, n.PacketsReceived, info.Segs_out, info.Segs_in)
		}
		if n.Retransmits == nil || *n.Retransmits != uint64(info.Total_retrans) {
			t.Errorf("%s: %v retransmits, TCP_INFO says %d", name, n.Retransmits, info.Total_retrans)
		}
		if n.SrttMicros == nil || *n.SrttMicros != info.Rtt {
			t.Errorf("%s: round trip %v µs, TCP_INFO says %d", name, n.SrttMicros, info.Rtt)
		}
		if f.State != event.TCPState_TCP_STATE_ESTABLISHED {
			t.Errorf("%s: state %s", name, f.State)
		}
	}
}

func TestSegmentsAreCountedBeyond32Bits(t *testing.T) {
	bpftest.Root(t)
	if bpftest.Hashed(t) {
		t.Skip("by what a socket's descriptor leads to, which is nothing on this kernel")
	}
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	tr.current(client)
	raw, err := p.client.SyscallConn()
	tr.check(err)
	// As if the last scan had been just before the kernel's counters wrapped.
	const before = 1<<32 - 1
	tr.check(raw.Control(func(fd uintptr) {
		var rec objectTcpRec
		socks := tr.probe.objects.TcpSocks
		tr.check(socks.Lookup(uint32(fd), &rec))
		rec.SegsOut, rec.SegsIn = before, before
		tr.check(socks.Update(uint32(fd), &rec, ebpf.UpdateExist))
	}))
	exchange(tr, p)
	settle(tr, p)
	f := tr.current(client)
	info := tcpInfo(tr, p.client)
	if n := own(t, f); n.PacketsSent != 1<<32+uint64(info.Segs_out) || n.PacketsReceived != 1<<32+uint64(info.Segs_in) {
		t.Errorf("%d and %d segments, want 2^32 more than %d and %d", n.PacketsSent, n.PacketsReceived, info.Segs_out,
			info.Segs_in)
	}
}

func tcpInfo(tr *trace, c *net.TCPConn) (info unix.TCPInfo) {
	tr.Helper()
	raw, err := c.SyscallConn()
	tr.check(err)
	tr.check(raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		tr.check(err)
		info = *i
	}))
	return info
}

func TestTCP_PhasesOfAConnection(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	tr.flush()
	tr.flush() // nothing has changed: nothing is reported
	exchange(tr, p)
	tr.current(client)
	tr.check(p.client.Close())
	tr.check(p.server.Close())
	tr.closed(client)
	tr.closed(server)
	for _, c := range []struct {
		name   string
		events []*event.Event
	}{{"client", tr.of(client, everything)}, {"server", tr.of(server, everything)}} {
		var last uint64
		for i, ev := range c.events {
			want := event.Phase_PHASE_UPDATE
			switch i {
			case 0:
				want = event.Phase_PHASE_NEW
			case len(c.events) - 1:
				want = event.Phase_PHASE_CLOSED
			}
			f := ev.GetFlow()
			if f.Phase != want {
				t.Errorf("%s: event %d of %d is %s, want %s", c.name, i, len(c.events), f.Phase, want)
			}
			if f.SocketCookie != c.events[0].GetFlow().SocketCookie {
				t.Errorf("%s: the cookie has changed", c.name)
			}
			if ev.Time < last {
				t.Errorf("%s: time goes back", c.name)
			}
			last = ev.Time
		}
		if n := len(c.events); n < 3 || n > 5 {
			t.Errorf("%s: %d events, want one new, one or two or three updates, one closed", c.name, n)
		}
	}
}

func everything(*event.Flow) bool { return true }

func TestTCP_RefusedConnection(t *testing.T) {
	tr := newTrace(t, Options{})
	client := tr.wanted("client")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.check(err)
	refused := l.Addr().String()
	tr.check(l.Close())
	client.Run(t, func() {
		if _, err := net.Dial("tcp", refused); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial: %v", err)
		}
	})
	f := tr.closed(client)
	if f.State != event.TCPState_TCP_STATE_SYN_SENT || f.IsnValid {
		t.Errorf("state %s, sequence numbers known: %v", f.State, f.IsnValid)
	}
	if hostPort(t, f.Dst) != refused || f.Src.Port == 0 || f.Observed != event.Side_SIDE_SRC {
		t.Errorf("%v → %v, observed %s", f.Src, f.Dst, f.Observed)
	}
	checkPayload(t, f, 0, 0)
}
