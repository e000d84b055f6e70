package drops

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// podPort is where nothing listens in a pod.
const podPort = 9

// podTraffic is what a pod's process has done on its own loopback.
type podTraffic struct{ Sent, Read int }

// pod is a child process of the tests, perhaps in a network namespace of its own. For each line it gets, it sends 30
// datagrams by loopback to a port where nothing listens, over IPv4 and IPv6, tries to connect to it, and fills a
// socket's buffer.
func pod() error {
	if err := bpftest.LoopbackUp(); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(podTraffic{}); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		done, err := loopbackDrops()
		if err != nil {
			return err
		}
		if err := out.Encode(done); err != nil {
			return err
		}
	}
	return nil
}

func loopbackDrops() (done podTraffic, err error) {
	for _, to := range []string{"127.0.0.1", "::1"} {
		c, err := net.ListenUDP("udp", nil) // not connected, so that it gets no errors
		if err != nil {
			return done, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		for range 30 {
			closed := netip.AddrPortFrom(netip.MustParseAddr(to), podPort)
			if _, err := c.WriteToUDPAddrPort(make([]byte, 100), closed); err != nil {
				return done, err
			}
		}
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", podPort))
	if err == nil {
		c.Close()
		return done, errors.New("something listens on the port")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return done, err
	}
	return overflow()
}

// overflow sends more datagrams to a socket than its buffer has room for.
func overflow() (done podTraffic, err error) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := server.SetReadBuffer(4096); err != nil {
		return done, err
	}
	client, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for done.Sent = 0; done.Sent < 200; done.Sent++ {
		if _, err := client.Write(make([]byte, 100)); err != nil {
			return done, err
		}
	}
	if err := bpftest.DeliverLoopback(); err != nil {
		return done, err
	}
	raw, err := server.SyscallConn()
	if err != nil {
		return done, err
	}
	if e := raw.Read(func(fd uintptr) bool {
		for {
			if _, _, err = unix.Recvfrom(int(fd), make([]byte, 200), unix.MSG_DONTWAIT); err != nil {
				return true
			}
			done.Read++
		}
	}); e != nil {
		return done, e
	}
	if !errors.Is(err, unix.EAGAIN) {
		return done, err
	}
	return done, nil
}

// startPod starts a pod's process in a cgroup and returns how to have it make its traffic once.
func startPod(t *testing.T, in *bpftest.Cgroup, ownNetwork bool) (traffic func() podTraffic) {
	t.Helper()
	cmd := bpftest.Child(t, "pod", in)
	if ownNetwork {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the pod's process: %v", err)
		}
	})
	lines := json.NewDecoder(stdout)
	next := func() (done podTraffic) {
		t.Helper()
		if err := lines.Decode(&done); err != nil {
			t.Fatalf("the pod's process said nothing: %v", err)
		}
		return done
	}
	next()
	return func() podTraffic {
		t.Helper()
		if _, err := io.WriteString(stdin, "\n"); err != nil {
			t.Fatal(err)
		}
		return next()
	}
}

// on gives what was dropped for an address.
func (b *harness) on(protocol event.Protocol, to string) []*event.Drop {
	b.Helper()
	return b.matching(func(d *event.Drop, dst netip.Addr) bool {
		return d.GetProtocol() == protocol && dst == netip.MustParseAddr(to)
	})
}

// checkLoopback holds what was dropped in a pod against what it did there.
func checkLoopback(b *harness, done podTraffic) {
	b.Helper()
	udp, tcp := event.Protocol_PROTOCOL_UDP, event.Protocol_PROTOCOL_TCP
	full := uint64(done.Sent - done.Read)
	for _, want := range []struct {
		protocol       event.Protocol
		to, reason     string
		packets, bytes uint64
	}{
		{udp, "127.0.0.1", "NO_SOCKET", 30, 30 * 128},
		{udp, "::1", "NO_SOCKET", 30, 30 * 148},
		{udp, "127.0.0.2", "SOCKET_RCVBUFF", full, full * 128},
	} {
		found := b.on(want.protocol, want.to)
		if len(found) != 1 {
			b.Errorf("%s to %s: %v, want one drop", want.protocol, want.to, found)
			continue
		}
		b.check(found[0], event.Side_SIDE_DST, want.packets, want.bytes, want.reason)
		if found[0].GetDevice() != "lo" && want.reason == "NO_SOCKET" {
			b.Errorf("%v was dropped at %q, want lo", found[0], found[0].GetDevice())
		}
	}
	// The attempt to connect; the answer that refuses it has a socket and is no drop.
	found := b.on(tcp, "127.0.0.1")
	if len(found) != 1 || found[0].GetPackets() != 1 || found[0].GetDst().GetPort() != podPort {
		b.Errorf("TCP: %v, want one drop", found)
	}
}

func TestDrops_LoopbackOfPod(t *testing.T) {
	t.Run("started after the probe", func(t *testing.T) {
		b := newHarness(t, Options{})
		checkLoopback(b, startPod(t, b.container(), true)())
	})
	t.Run("started before the probe", func(t *testing.T) {
		b := newScope(t)
		traffic := startPod(t, b.container(), true)
		b.open(Options{})
		checkLoopback(b, traffic())
	})
	t.Run("in scope later", func(t *testing.T) {
		b := newHarness(t, Options{})
		if err := b.scope.SetCgroup(b.group.ID, false); err != nil {
			t.Fatal(err)
		}
		container := b.container()
		traffic := startPod(t, container, true)
		for _, c := range []*bpftest.Cgroup{b.group, container} {
			if err := b.scope.SetCgroup(c.ID, true); err != nil {
				t.Fatal(err)
			}
		}
		b.awaitNetwork()
		checkLoopback(b, traffic())
	})
}

// awaitNetwork waits until the network namespace of the pod is known to be the pod's.
func (b *harness) awaitNetwork() {
	b.Helper()
	for deadline := time.Now().Add(waitTimeout); len(b.networks()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("the pod's network namespace is not found")
		}
	}
}

// A pod on the host network shares its namespace with others: drops without a socket have no owner there.
func TestDrops_LoopbackOfNode(t *testing.T) {
	b := newHarness(t, Options{})
	startPod(t, b.container(), false)()
	for _, to := range []string{"127.0.0.1", "::1"} {
		if found := b.on(event.Protocol_PROTOCOL_UDP, to); len(found) > 0 {
			t.Errorf("%v was reported, but belongs to the host network", found)
		}
	}
}

func TestDrops_OtherPodsAreNotReported(t *testing.T) {
	b := newHarness(t, Options{})
	other := bpftest.NewCgroup(t, "orb8-drops-test-other")
	startPod(t, other, true)() // not in scope
	if found := b.on(event.Protocol_PROTOCOL_UDP, "127.0.0.1"); len(found) > 0 {
		t.Errorf("%v belongs to another pod", found)
	}
	checkLoopback(b, startPod(t, b.container(), true)())
}

// A pod that creates network namespaces takes no room from others, and can create more once they are gone.
func TestDrops_NetworksOfOnePodAreBounded(t *testing.T) {
	const bound, more = 4, 2
	b := newScope(t)
	b.load(Options{PodNetworks: bound}) // it does not run, so only the test scans
	container := b.container()
	for range 2 {
		for range bound + more {
			cmd := bpftest.Child(t, "nothing", container)
			cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(b.networks()); n != bound {
			t.Errorf("%d namespaces are kept, want %d", n, bound)
		}
		if err := b.probe.networks.scan(); err != nil {
			t.Fatal(err)
		}
		if n := len(b.networks()); n != 0 {
			t.Errorf("%d namespaces are left of processes that have ended", n)
		}
	}
	var lost uint64
	for _, l := range b.probe.Lost() {
		if l.Cgroup != 0 && l.Cgroup != b.group.ID {
			t.Errorf("a loss that is not the pod's: %+v", l)
		}
		lost += l.Count
	}
	if lost != 2*more {
		t.Errorf("%d are counted as lost, want %d", lost, 2*more)
	}
}
