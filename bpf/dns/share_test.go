package dns

import (
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

// observe makes another cgroup and takes it into scope.
func (b *harness) observe(name string) *bpftest.Cgroup {
	b.Helper()
	c := bpftest.NewCgroup(b, "orb8-dns-test-"+name)
	if err := b.scope.SetCgroup(c.ID, true); err != nil {
		b.Fatal(err)
	}
	return c
}

// held is how many clients of a cgroup have a place.
func (b *harness) held(c *bpftest.Cgroup) int64 {
	b.Helper()
	return bpftest.Held(b, b.probe.objects.Shares, c, 0)
}

func entries(t *testing.T, m *ebpf.Map) (n int) {
	t.Helper()
	key := make([]byte, m.KeySize())
	value := make([]byte, m.ValueSize())
	i := m.Iterate()
	for i.Next(&key, &value) {
		n++
	}
	if err := i.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// connect opens connections within a cgroup and holds them.
func connect(t *testing.T, in *bpftest.Cgroup, network string, server netip.AddrPort, n int) (all []io.Closer) {
	t.Helper()
	in.Run(t, func() {
		for range n {
			c, err := net.Dial(network, server.String())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
	})
	return all
}

func closeAll(all []io.Closer) {
	for _, c := range all {
		c.Close()
	}
}

func TestClients_FloodLeavesRoomForOthers(t *testing.T) {
	const room, reserve, many = 50, 10, 100
	server := serve(t, "127.0.0.1")
	b := newHarness(t, Options{Ports: []uint16{server.Port()}, MaxClients: room})
	flood := b.observe("flood")
	for range 2 { // the second time in places that were given back
		all := connect(t, flood, "tcp", server, many)
		if n := b.held(flood); n < room-reserve || n >= room {
			t.Errorf("the flood holds %d of %d places, of which %d are the reserve", n, room, reserve)
		}
		b.group.Run(t, func() { ask(t, "tcp", server, "a.example.") })
		got := b.events()
		if len(got) != 1 || got[0].GetDns().GetSrc().GetPid() != uint32(os.Getpid()) {
			t.Errorf("%v, want an event with its process", got)
		}
		closeAll(all)
		for _, c := range []*bpftest.Cgroup{b.group, flood} {
			if n := b.held(c); n != 0 {
				t.Errorf("%d places are held, and no connection is left", n)
			}
		}
	}
	if n := entries(t, b.probe.objects.Clients); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

func TestOwners_OtherSocketsTakeNoMemory(t *testing.T) {
	const many = 20
	b := newHarness(t, Options{Ports: []uint16{1}})
	other := serve(t, "127.0.0.1")
	b.group.Run(t, func() { serve(t, "127.0.0.1") })
	for _, network := range []string{"tcp", "udp"} {
		closeAll(connect(t, b.group, network, other, many))
	}
	if n := entries(t, b.probe.objects.Clients) + entries(t, b.probe.objects.Servers); n != 0 {
		t.Errorf("%d owners are kept of sockets without a DNS port", n)
	}
}

func TestServers_ConnectionsTakeNoMemory(t *testing.T) {
	const many = 20
	server := reserved
	b := newHarness(t, Options{Ports: []uint16{server.Port()}})
	b.group.Run(t, func() { serveOn(t, server) })
	home := b.observe("home")
	if err := b.scope.SetCgroup(home.ID, false); err != nil { // its sockets are not observed
		t.Fatal(err)
	}
	all := connect(t, home, "tcp", server, many)
	defer closeAll(all)
	if n := entries(t, b.probe.objects.Servers); n != 2 {
		t.Errorf("%d owners are kept of a port of UDP and TCP", n)
	}
	if n := entries(t, b.probe.objects.Clients); n != 0 {
		t.Errorf("%d clients are kept of connections that a server accepts", n)
	}
	c := all[0].(net.Conn)
	m := build(t, 1, false, 0, "a.example.", 1)
	if err := c.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append([]byte{byte(len(m) >> 8), byte(len(m))}, m...)); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(c); err != nil {
		t.Fatal(err)
	}
	got := b.events()
	if len(got) != 1 || got[0].GetDns().GetDst().GetPid() != uint32(os.Getpid()) {
		t.Errorf("%v, want an event with the server's process", got)
	}
}
