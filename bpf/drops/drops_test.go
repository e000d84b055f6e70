package drops

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const waitTimeout = 90 * time.Second

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{"pod": pod, "nothing": func() error { return nil }})
	os.Exit(bpftest.Main(m))
}

// harness is a running probe with a cgroup in scope.
type harness struct {
	*testing.T
	scope *scope.Scope
	probe *Probe
	group *bpftest.Cgroup

	mu    sync.Mutex
	inner []uint64                // cgroups within the group
	got   map[string]*event.Event // the newest of each id
	// duringScan runs once, while the probe reads the drops.
	duringScan func()
}

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
	b := &harness{T: t, scope: s, group: bpftest.NewCgroup(t, "orb8-drops-test"), got: map[string]*event.Event{}}
	if err := s.SetCgroup(b.group.ID, true); err != nil {
		t.Fatal(err)
	}
	return b
}

// container makes a cgroup within the group.
func (b *harness) container() *bpftest.Cgroup {
	b.Helper()
	c := bpftest.NewCgroup(b.T, "orb8-drops-test/container")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inner = append(b.inner, c.ID)
	return c
}

// networks are the network namespaces that are known to be the group's.
func (b *harness) networks() (ids []uint64) {
	b.Helper()
	var (
		id    uint64
		value objectNetwork
	)
	entries := b.probe.objects.Networks.Iterate()
	for entries.Next(&id, &value) {
		if value.Cgroup == b.group.ID {
			ids = append(ids, id)
		}
	}
	if err := entries.Err(); err != nil {
		b.Fatal(err)
	}
	return ids
}

// load opens the probe without running it.
func (b *harness) load(o Options) {
	b.Helper()
	var err error
	o.Scope, o.Interval = b.scope, time.Hour // tests scan by Flush
	if b.probe, err = Open(b.Context(), o); err != nil {
		bpftest.FatalLoad(b.T, err)
	}
	b.Cleanup(func() {
		if err := b.probe.Close(); err != nil {
			b.Error(err)
		}
	})
}

func (b *harness) open(o Options) {
	t := b.T
	t.Helper()
	b.load(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			b.mu.Lock()
			scanned := b.duringScan
			b.duringScan = nil
			b.mu.Unlock()
			if scanned != nil {
				scanned()
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			// Drops with a socket belong to the container, those found by address or network namespace to the pod.
			if cgroup != b.group.ID && !slices.Contains(b.inner, cgroup) {
				t.Errorf("an event of the cgroup %d: %v", cgroup, ev)
			}
			b.got[ev.GetDrop().GetId()] = proto.Clone(ev).(*event.Event)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// matching flushes the probe and gives the drops that want accepts.
func (b *harness) matching(want func(d *event.Drop, dst netip.Addr) bool) (found []*event.Drop) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	if err := b.probe.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range b.got {
		d := ev.GetDrop()
		if dst, _ := netip.AddrFromSlice(d.GetDst().GetAddress()); want(d, dst) {
			found = append(found, d)
		}
	}
	return found
}

// drops returns the drops of UDP datagrams to a port of an address, 0 for all ports.
func (b *harness) drops(to netip.AddrPort) []*event.Drop {
	b.Helper()
	return b.matching(func(d *event.Drop, dst netip.Addr) bool {
		return d.GetProtocol() == event.Protocol_PROTOCOL_UDP && dst == to.Addr() &&
			(to.Port() == 0 || d.GetDst().GetPort() == uint32(to.Port()))
	})
}

// own sets the addresses of the cgroup.
func (b *harness) own(addresses ...string) {
	b.Helper()
	all := map[netip.Addr]uint64{}
	for _, a := range addresses {
		all[netip.MustParseAddr(a)] = b.group.ID
	}
	if err := b.probe.SetAddresses(all); err != nil {
		b.Fatal(err)
	}
}

// send sends datagrams of 100 bytes, one to each address in turn.
func (b *harness) send(n int, to ...netip.AddrPort) (from netip.AddrPort) {
	b.Helper()
	network := "udp4"
	if to[0].Addr().Is6() {
		network = "udp6"
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	}()
	for i := range n {
		// A firewall rule of the output hook fails the call with EPERM.
		if _, err := c.WriteToUDPAddrPort(make([]byte, 100), to[i%len(to)]); err != nil && !errors.Is(err, unix.EPERM) {
			b.Fatal(err)
		}
	}
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// check compares a drop with the expected values. It ignores reason on kernels that have none.
func (b *harness) check(d *event.Drop, observed event.Side, packets, bytes uint64, reason string) {
	b.Helper()
	if len(b.probe.reasons.names) == 0 {
		reason = ""
	}
	if d.GetObserved() != observed || d.GetPackets() != packets || d.GetBytes() != bytes || d.GetReason() != reason ||
		d.GetLocation() == "" ||
		strings.HasPrefix(d.GetLocation(), "0x") || d.GetFirstTime() == 0 || d.GetLastTime() < d.GetFirstTime() {
		b.Errorf("%v\nwant %d packets, %d bytes, %s, observed %v", d, packets, bytes, reason, observed)
	}
}

func TestDrops_ClosedPort(t *testing.T) {
	b := newHarness(t, Options{})
	for _, c := range []struct {
		own     string
		headers uint64
	}{{"127.0.0.7", 28}, {"::1", 48}} {
		b.own(c.own)
		to := netip.AddrPortFrom(netip.MustParseAddr(c.own), 9)
		from := b.send(30, to)
		// Drops of other addresses are not reported.
		b.own()
		b.send(10, to)
		found := b.drops(to)
		if len(found) != 1 {
			t.Fatalf("%v, want one drop", found)
		}
		// Over loopback both addresses may be the cgroup's. Then the drop is the sender's.
		side := event.Side_SIDE_DST
		if c.own == "::1" {
			side = event.Side_SIDE_SRC
		}
		b.check(found[0], side, 30, 30*(100+c.headers), "NO_SOCKET")
		if found[0].GetSrc().GetPort() != uint32(from.Port()) {
			t.Errorf("%v comes from port %d", found[0], from.Port())
		}
	}
}

func TestDrops_FullSocketBuffer(t *testing.T) {
	b := newHarness(t, Options{})
	b.own("127.0.0.8")
	var server *net.UDPConn
	b.group.Run(t, func() {
		var err error
		if server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 8)}); err != nil {
			t.Fatal(err)
		}
	})
	bpftest.CloseAfter(t, server)
	if err := server.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	const sent = 200
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	b.send(sent, to)
	if err := bpftest.DeliverLoopback(); err != nil {
		t.Fatal(err)
	}
	// A read that would block has seen all. A deadline may pass before the first read is tried.
	received := 0
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		for {
			if _, _, err = unix.Recvfrom(int(fd), make([]byte, 200), unix.MSG_DONTWAIT); err != nil {
				return true
			}
			received++
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	found := b.drops(to)
	if len(found) != 1 || received == 0 || received == sent {
		t.Fatalf("%d of %d received, %v", received, sent, found)
	}
	b.check(found[0], event.Side_SIDE_DST, uint64(sent-received), uint64(sent-received)*128, "SOCKET_RCVBUFF")
}

func TestDrops_Firewall(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	b := newHarness(t, Options{})
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader("table ip orb8 {\n chain out {\n type filter hook output priority 0;\n udp dport " +
		"4242 drop\n }\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := exec.Command(nft, "delete", "table", "ip", "orb8").Run(); err != nil {
			t.Error(err)
		}
	})
	to := netip.MustParseAddrPort("127.0.0.1:4242")
	b.send(5, to) // by a process that is not in scope
	b.group.Run(t, func() { b.send(7, to) })
	found := b.drops(to)
	if len(found) != 1 {
		t.Fatalf("%v, want one drop", found)
	}
	b.check(found[0], event.Side_SIDE_SRC, 7, 7*128, "NETFILTER_DROP")
}

func TestDrops_CountPacketsWithoutRoom(t *testing.T) {
	const room, sent = 16, 100
	b := newHarness(t, Options{MaxFlows: room})
	b.own("127.0.0.9")
	var to []netip.AddrPort
	for port := range sent {
		to = append(to, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), uint16(20000+port)))
	}
	b.send(sent, to...)
	var packets, lost uint64
	for _, d := range b.drops(netip.AddrPortFrom(to[0].Addr(), 0)) {
		packets += d.GetPackets()
	}
	for _, l := range b.probe.Lost() {
		if l.Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP {
			t.Errorf("%v", l)
		}
		lost += l.Count
	}
	// The ICMP errors that answer the datagrams are not dropped.
	if lost == 0 || packets == 0 || packets+lost != sent {
		t.Errorf("%d reported and %d lost of %d", packets, lost, sent)
	}
}

const flooding, quietly = "127.0.0.9", "127.0.0.10" // addresses of the two cgroups of newQuietHarness

// newQuietHarness returns a harness with a second cgroup, quiet, in scope.
func newQuietHarness(t *testing.T, room uint32) (b *harness, quiet uint64) {
	b = newHarness(t, Options{MaxFlows: room})
	quiet = bpftest.NewCgroup(t, "orb8-drops-quiet").ID
	if err := b.scope.SetCgroup(quiet, true); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.inner = append(b.inner, quiet)
	b.mu.Unlock()
	if err := b.probe.SetAddresses(map[netip.Addr]uint64{
		netip.MustParseAddr(flooding): b.group.ID, netip.MustParseAddr(quietly): quiet,
	}); err != nil {
		t.Fatal(err)
	}
	return b, quiet
}

// sendPorts sends a datagram to each of n ports of an address.
func (b *harness) sendPorts(address string, first, n int) {
	b.Helper()
	var to []netip.AddrPort
	for port := range n {
		to = append(to, netip.AddrPortFrom(netip.MustParseAddr(address), uint16(first+port)))
	}
	b.send(n, to...)
}

// dropPorts has a datagram to each of n ports of an address dropped. It returns how many drops were reported, and the
// losses by cgroup so far.
func (b *harness) dropPorts(address string, n int) (lost map[uint64]uint64, seen int) {
	b.Helper()
	b.sendPorts(address, 20000, n)
	seen = len(b.drops(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
	lost = map[uint64]uint64{}
	for _, l := range b.probe.Lost() {
		lost[l.Cgroup] += l.Count
	}
	return lost, seen
}

func TestDrops_FloodLeavesRoomForOthers(t *testing.T) {
	const room, many, few = 64, 300, 3
	for name, scanned := range map[string]func(b *harness){
		"between scans": nil,
		// As on a busy node, where a scan takes long: places taken during the scan count.
		"during a scan": func(b *harness) { b.sendPorts(flooding, 10000, room) },
	} {
		t.Run(name, func(t *testing.T) {
			b, quiet := newQuietHarness(t, room)
			if scanned != nil {
				b.mu.Lock()
				b.duringScan = func() { scanned(b) }
				b.mu.Unlock()
				b.dropPorts(flooding, 1)
			}
			lost, seen := b.dropPorts(flooding, many)
			if seen < room || seen > room+room/4 || lost[b.group.ID] == 0 {
				t.Errorf("the flood has %d drops in room for %d, and lost %v", seen, room, lost)
			}
			if lost, seen := b.dropPorts(quietly, few); seen != few || lost[quiet] != 0 || lost[0] != 0 {
				t.Errorf("%d of %d drops of the quiet cgroup came, lost %v", seen, few, lost)
			}
		})
	}
}

func TestDrops_ForgottenGiveBackTheirPlaces(t *testing.T) {
	const room, few = 64, 10
	b, quiet := newQuietHarness(t, room)
	b.dropPorts(flooding, few)
	b.dropPorts(quietly, few)
	var (
		key   objectDropKey
		value objectDrop
		old   []objectDropKey
	)
	entries := b.probe.objects.Drops.Iterate()
	for entries.Next(&key, &value) {
		if key.Cgroup == b.group.ID {
			old = append(old, key)
		}
	}
	if err := entries.Err(); err != nil || len(old) != few {
		t.Fatalf("%d drops of the cgroup, want %d: %v", len(old), few, err)
	}
	w := scanner{probe: b.probe}
	if err := w.forget(append(old, old[0])); err != nil {
		t.Fatal(err)
	}
	var used [1]int64
	if err := b.probe.objects.ShareUsed.Get(&used); err != nil {
		t.Fatal(err)
	}
	for cgroup, want := range map[uint64]int64{b.group.ID: 0, quiet: few} {
		var held int64
		if err := b.probe.objects.Shares.Lookup(cgroup, &held); err != nil || held != want {
			t.Errorf("cgroup %d holds %d places, want %d: %v", cgroup, held, want, err)
		}
	}
	if used[0] != few {
		t.Errorf("%d places are used, want %d", used[0], few)
	}
}

func TestDrops_IdleAreForgotten(t *testing.T) {
	b := newHarness(t, Options{})
	b.own("127.0.0.11")
	to := netip.MustParseAddrPort("127.0.0.11:9")
	b.send(1, to)
	if found := b.drops(to); len(found) != 1 {
		t.Fatalf("%v, want one drop", found)
	}
	var (
		key   objectDropKey
		value objectDrop
	)
	entries := b.probe.objects.Drops.Iterate()
	for entries.Next(&key, &value) {
		value.LastNs = bpf.Monotonic() - uint64(2*idle)
		if err := b.probe.objects.Drops.Update(key, value, ebpf.UpdateExist); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	b.drops(to)
	if b.probe.objects.Drops.Iterate().Next(&key, &value) {
		t.Errorf("kept %v after its last packet: %+v", 2*idle, value)
	}
}

func TestDecode_Protocols(t *testing.T) {
	d := newDecoder(new(bpf.Clock), reasons{})
	for number, want := range map[uint8]event.Protocol{
		1: event.Protocol_PROTOCOL_ICMP, 6: event.Protocol_PROTOCOL_TCP, 17: event.Protocol_PROTOCOL_UDP,
		58: event.Protocol_PROTOCOL_ICMPV6, 47: event.Protocol_PROTOCOL_RAW,
	} {
		got := d.decode(&objectDropKey{Protocol: number, Direction: ingress}, &objectDrop{}, "f").GetDrop()
		if got.Protocol != want || got.Observed != event.Side_SIDE_DST || got.Location != "f" {
			t.Errorf("protocol %d: %v, want %v", number, got, want)
		}
	}
}

func TestReasons_ExistInTheKernel(t *testing.T) {
	b := newHarness(t, Options{})
	r := b.probe.reasons
	if len(r.names) == 0 {
		t.Skip("this kernel has no reasons")
	}
	byName := map[string]bool{}
	for _, n := range r.names {
		byName[n] = true
	}
	for _, want := range []string{"NO_SOCKET", "NOT_SPECIFIED", "SOCKET_RCVBUFF", "NETFILTER_DROP", "TCP_CSUM",
		"UDP_CSUM"} {
		if !byName[want] {
			t.Errorf("the kernel has no %s", want)
		}
	}
	if got := r.name(1 << 20); got != "1048576" {
		t.Errorf("an unknown reason is %q", got)
	}
}
