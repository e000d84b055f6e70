package flows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{"trace-self": traceSelf, "hold-connections": holdConnections})
	os.Exit(bpftest.Main(m))
}

func TestThreeCapabilitiesAreEnough(t *testing.T) {
	bpftest.Root(t)
	c := bpftest.NewCgroup(t, "orb8-flows-test/unprivileged")
	cmd := bpftest.Child(t, "trace-self", c)
	cmd.Env = append(cmd.Env, "ORB8_FLOWS_CGROUP="+c.Dir, "ORB8_FLOWS_ROOT="+bpftest.CgroupRoot(t))
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, c := range capabilities() {
		cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(c))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// capabilities are those that the plugin gives a tracer, by the kernel's release.
func capabilities() []uint {
	all := []uint{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		panic(err) // it has no other argument than that
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err == nil &&
		(major < 5 || major == 5 && minor < 11) {
		all = append(all, unix.CAP_SYS_RESOURCE)
	}
	return all
}

// traceSelf traces this process's own connection and fails unless it sees it, whole.
func traceSelf() (err error) {
	if err := onlyCapabilities(capabilities()...); err != nil {
		return err
	}
	// As in a container, whatever limit the tests have.
	const small = 64 << 10
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: small, Max: small}, nil); err != nil {
		return err
	}
	root := os.Getenv("ORB8_FLOWS_ROOT")
	s, err := scope.Open(scope.Options{CgroupRoot: root})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	info, err := os.Stat(os.Getenv("ORB8_FLOWS_CGROUP"))
	if err != nil {
		return err
	}
	if err := s.SetCgroup(info.Sys().(*syscall.Stat_t).Ino, true); err != nil {
		return err
	}
	// It is older than the trace, so only the scan over files finds it.
	const size = 4321
	preexisting, err := talk(size)
	if err != nil {
		return err
	}
	defer preexisting.Close()

	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	p, err := Open(ctx, Options{Scope: s, CgroupRoot: root, Interval: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	// The other end of both connections is in scope as well: each is seen from two sides.
	halves := 0
	err = p.Run(ctx, func(_ uint64, ev *event.Event) {
		f := ev.GetFlow()
		if f.Phase == event.Phase_PHASE_NEW && f.StartTime == 0 && f.SrcCounters.GetBytesSent()+
			f.DstCounters.GetBytesReceived() == size {
			if halves++; halves == 2 {
				cancel()
			}
		}
	})
	if err == nil && halves != 2 {
		err = fmt.Errorf("%d halves of the preexisting connection seen, want 2", halves)
	}
	return err
}

// talk opens a connection to itself over loopback and sends size bytes on it.
func talk(size int64) (ends io.Closer, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	s, err := l.Accept()
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(make([]byte, size)); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, s, size); err != nil {
		return nil, err
	}
	return closers{c, s}, nil
}

type closers []io.Closer

func (cs closers) Close() (err error) {
	for _, c := range cs {
		err = errors.Join(err, c.Close())
	}
	return err
}

// onlyCapabilities fails if this process has others than these.
func onlyCapabilities(want ...uint) error {
	var mask uint64
	for _, c := range want {
		mask |= 1 << c
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	line := fmt.Sprintf("CapEff:\t%016x", mask)
	if !strings.Contains(string(status), line) {
		return fmt.Errorf("capabilities are not %s: %s", line, status)
	}
	return nil
}

func TestProbe_CloseUnloadsEverything(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	exchange(tr, p) // with sockets alive that have our storage
	ours := loaded(tr)
	if !bpftest.Snapshot(t).Has(ours) {
		t.Fatalf("not loaded: %+v", ours)
	}
	tr.stop()
	// The kernel frees some of it a grace period later.
	for deadline := time.Now().Add(waitTimeout); bpftest.Snapshot(t).Has(ours); {
		if time.Now().After(deadline) {
			t.Fatalf("of %+v some are in %+v", ours, bpftest.Snapshot(t))
		}
	}
}

// loaded gives the ids of everything that the probe holds but what belongs to the scope.
func loaded(tr *trace) (l bpftest.Loaded) {
	tr.Helper()
	for _, link := range tr.probe.Links {
		info, err := link.Info()
		tr.check(err)
		l.Links = append(l.Links, info.ID)
		l.Programs = append(l.Programs, info.Program)
	}
	o := &tr.probe.objects
	for _, m := range []*ebpf.Map{
		o.CgroupLosses, o.Events, o.Losses, o.Listeners, o.PacketFlows4, o.PacketFlows6, o.PacketGone, o.PacketSocks,
		o.TcpSocks,
	} {
		info, err := m.Info()
		tr.check(err)
		id, ok := info.ID()
		if !ok {
			tr.Fatal("the map has no id")
		}
		l.Maps = append(l.Maps, id)
	}
	return l
}

func TestTheReaderOwnsAnAcceptedConnection(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	if f := tr.current(server); int(f.Dst.Pid) != os.Getpid() {
		t.Errorf("owner %v, want the listener's process %d", f.Dst, os.Getpid())
	}
	in, err := p.server.File()
	tr.check(err)
	defer in.Close()
	if _, err := exec.LookPath("cat"); err != nil {
		t.Skip("needs cat")
	}
	cat := exec.CommandContext(t.Context(), "cat")
	cat.Stdin = in
	tr.check(cat.Start())
	_, err = p.client.Write([]byte("hello"))
	tr.check(err)
	tr.check(p.client.Close())
	tr.check(cat.Wait())
	tr.check(p.server.Close())
	in.Close()
	if f := tr.closed(server); int(f.Dst.Pid) != cat.Process.Pid || f.Dst.Comm != "cat" {
		t.Errorf("owner %v, want cat, %d", f.Dst, cat.Process.Pid)
	}
}
