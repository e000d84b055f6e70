package tcp

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// waitTimeout bounds the wait for a condition that must hold. It is no measure of speed.
const waitTimeout = 90 * time.Second

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{"deaf client": deafClient})
	os.Exit(bpftest.Main(m))
}

// deafClient connects to its argument, sends a byte, and reads nothing until it is killed.
func deafClient() error {
	c, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	select {}
}

// harness is a probe with two cgroups in scope, for the two ends of connections.
type harness struct {
	*testing.T
	scope          *scope.Scope
	probe          *Probe
	client, server *bpftest.Cgroup
	// held is locked while the sink must not accept events.
	held sync.Mutex
	// acknowledged: the client's FIN may have been acknowledged before the server's data went.
	acknowledged bool

	mu     sync.Mutex
	events map[uint64][]*event.Event
}

// newHarness runs a probe until the test ends.
func newHarness(t *testing.T, o Options) *harness {
	t.Helper()
	b := newScope(t)
	b.open(o)
	return b
}

// newScope returns a harness without a probe.
func newScope(t *testing.T) *harness {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	b := &harness{T: t, scope: s, events: make(map[uint64][]*event.Event)}
	b.client, b.server = bpftest.NewCgroup(t, "orb8-tcp-test/client"), bpftest.NewCgroup(t, "orb8-tcp-test/server")
	for _, c := range []*bpftest.Cgroup{b.client, b.server} {
		b.check(s.SetCgroup(c.ID, true))
	}
	return b
}

func (b *harness) open(o Options) {
	b.Helper()
	o.Scope = b.scope
	if o.Interval == 0 {
		o.Interval = time.Hour // tests scan by Flush
	}
	p, err := Open(b.Context(), o)
	if err != nil {
		bpftest.FatalLoad(b.T, err)
	}
	b.probe = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx, b.sink) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	b.flush() // now Run has found the preexisting sockets
}

func (b *harness) sink(cgroup uint64, ev *event.Event) {
	b.held.Lock()
	defer b.held.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events[cgroup] = append(b.events[cgroup], proto.Clone(ev).(*event.Event))
}

func (b *harness) flush() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	b.check(b.probe.Flush(ctx))
}

func (b *harness) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// of returns the events of a cgroup so far.
func (b *harness) of(c *bpftest.Cgroup) (all []*event.Tcp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range b.events[c.ID] {
		all = append(all, ev.GetTcp())
	}
	return all
}

// last waits for an event of the cgroup with an outcome other than connected, accepted and retransmits.
func (b *harness) last(c *bpftest.Cgroup) *event.Tcp {
	b.Helper()
	// the expiry of a TCP timer gives no signal to wait for
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(5 * time.Millisecond) {
		b.flush()
		for _, t := range b.of(c) {
			switch t.Outcome {
			case event.TCPOutcome_TCP_OUTCOME_CONNECTED, event.TCPOutcome_TCP_OUTCOME_ACCEPTED,
				event.TCPOutcome_TCP_OUTCOME_RETRANSMITS:
			default:
				return t
			}
		}
		if time.Now().After(deadline) {
			lost := b.probe.Lost()
			if len(lost) > 0 {
				// An interrupt on a busy CPU reached a hook within a run of its own program: such ends are not seen.
				b.Skipf("no end was reported, and the probe says why: lost %v", lost)
			}
			b.Fatalf("no end was reported, and nothing lost; but:\n%v", b.of(c))
		}
	}
}

// pair is a TCP connection, both ends of it ours.
type pair struct {
	client, server *net.TCPConn
	listener       net.Listener
}

// listen makes a listener in the server's cgroup. Go's own would be an MPTCP one.
func (b *harness) listen(address string) net.Listener {
	b.Helper()
	var l net.Listener
	b.server.Run(b, func() {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		var err error
		l, err = lc.Listen(b.Context(), "tcp", net.JoinHostPort(address, "0"))
		b.check(err)
	})
	bpftest.CloseAfter(b, l)
	return l
}

// dial connects in the client's cgroup.
func (b *harness) dial(to string, d net.Dialer) (c *net.TCPConn, err error) {
	b.Helper()
	b.client.Run(b, func() {
		var conn net.Conn
		if conn, err = d.Dial("tcp", to); err == nil {
			c = conn.(*net.TCPConn)
			bpftest.CloseAfter(b, c)
		}
	})
	return c, err
}

func (b *harness) connect(address string) *pair {
	b.Helper()
	p := &pair{listener: b.listen(address)}
	var err error
	p.client, err = b.dial(p.listener.Addr().String(), net.Dialer{})
	b.check(err)
	s, err := p.listener.Accept()
	b.check(err)
	p.server = s.(*net.TCPConn)
	bpftest.CloseAfter(b, p.server)
	return p
}

// control runs f with a socket's descriptor.
func (b *harness) control(c any, f func(fd int) error) {
	b.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	b.check(err)
	var inner error
	b.check(raw.Control(func(fd uintptr) { inner = f(int(fd)) }))
	b.check(inner)
}

// deafen makes a socket drop all incoming segments, as a broken network does. undo lets them through.
func (b *harness) deafen(c any) (undo func()) {
	b.Helper()
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	b.control(c, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
	return func() {
		b.Helper()
		b.control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	}
}

func (b *harness) option(c any, level, name, value int) {
	b.Helper()
	b.control(c, func(fd int) error { return unix.SetsockoptInt(fd, level, name, value) })
}

func (b *harness) info(c any) (info *unix.TCPInfo) {
	b.Helper()
	b.control(c, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	return info
}

// synCount returns a dialer whose connects time out after n retransmits of the SYN.
func synCount(n int) net.Dialer {
	return net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_SYNCNT, n)
		}); e != nil {
			return e
		}
		return err
	}}
}

// brief formats an event in a line: "reset in ESTABLISHED, reset by peer, ECONNRESET".
func brief(t *event.Tcp) string {
	s := t.Outcome.Word()
	if t.State != 0 {
		s += " in " + t.State.Word()
	}
	if t.ResetBy != 0 {
		s += ", reset by " + t.ResetBy.Word()
	}
	if t.ClosedBy != 0 {
		s += ", closed by " + t.ClosedBy.Word()
	}
	if t.Cause != 0 {
		s += fmt.Sprintf(", %s", t.Cause)
	}
	if t.Error != "" {
		s += ", " + t.Error
	}
	return s
}
