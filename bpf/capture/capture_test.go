package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const waitTimeout = 20 * time.Second

func TestMain(m *testing.M) { os.Exit(bpftest.Main(m)) }

const (
	sent     = event.PacketDirection_PACKET_DIRECTION_SENT
	received = event.PacketDirection_PACKET_DIRECTION_RECEIVED
)

// harness is a running probe with a cgroup in scope.
type harness struct {
	*testing.T
	probe *Probe
	group *bpftest.Cgroup

	mu  sync.Mutex
	got []*event.Packet
}

// attach opens the probe with a cgroup in scope.
func attach(tb testing.TB, o Options) (*Probe, *bpftest.Cgroup) {
	tb.Helper()
	bpftest.Root(tb)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(tb)})
	if err != nil {
		bpftest.FatalLoad(tb, err)
	}
	bpftest.CloseAfter(tb, s)
	group := bpftest.NewCgroup(tb, "orb8-capture-test")
	if err := s.SetCgroup(group.ID, true); err != nil {
		tb.Fatal(err)
	}
	o.Scope, o.CgroupRoot = s, bpftest.CgroupRoot(tb)
	probe, err := Open(tb.Context(), o)
	if err != nil {
		bpftest.FatalLoad(tb, err)
	}
	bpftest.CloseAfter(tb, probe)
	return probe, group
}

func newHarness(t *testing.T, o Options) *harness {
	t.Helper()
	h := &harness{T: t}
	h.probe, h.group = attach(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- h.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if cgroup != h.group.ID || ev.GetTime() == 0 {
				t.Errorf("an event of the cgroup %d: %v", cgroup, ev)
			}
			h.got = append(h.got, proto.Clone(ev.GetPacket()).(*event.Packet))
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// packets returns what was reported so far.
func (h *harness) packets() []*event.Packet {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if err := errors.Join(bpftest.DeliverLoopback(), h.probe.Flush(ctx)); err != nil {
		h.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got
}

// udp sends datagrams with these payloads from a socket of the cgroup to another one, and returns the addresses.
func (h *harness) udp(network string, payloads ...[]byte) (from, to *net.UDPAddr) {
	h.Helper()
	var closeBoth func()
	h.group.Run(h.T, func() { from, to, closeBoth = sendUDP(h.T, network, payloads...) })
	defer closeBoth() // the packets pass while both sockets are there
	if err := bpftest.DeliverLoopback(); err != nil {
		h.Fatal(err)
	}
	return from, to
}

func sendUDP(tb testing.TB, network string, payloads ...[]byte) (from, to *net.UDPAddr, closeBoth func()) {
	tb.Helper()
	server, err := net.ListenPacket(network, map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"}[network])
	if err != nil {
		tb.Fatal(err)
	}
	client, err := net.Dial(network, server.LocalAddr().String())
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range payloads {
		if _, err := client.Write(p); err != nil {
			tb.Fatal(err)
		}
	}
	return client.LocalAddr().(*net.UDPAddr), server.LocalAddr().(*net.UDPAddr), func() {
		if err := errors.Join(client.Close(), server.Close()); err != nil {
			tb.Error(err)
		}
	}
}

func TestCapture_CopiesDatagrams(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			h := newHarness(t, Options{})
			var payloads [][]byte
			head := map[string]int{"udp4": 28, "udp6": 48}[network]
			for _, n := range []int{0, 1, 99, 100, 101, 228, 484, 996, 2020, 8164, 24548, 40000, 65000} {
				payloads = append(payloads, bytes.Repeat([]byte{byte(n), 7}, n/2+1)[:n])
			}
			from, to := h.udp(network, payloads...)
			got := h.packets()
			if len(got) != 2*len(payloads) {
				t.Fatalf("%d packets, want %d", len(got), 2*len(payloads))
			}
			for i, want := range payloads {
				for j, direction := range []event.PacketDirection{sent, received} {
					p := got[2*i+j]
					if p.GetDirection() != direction || int(p.GetLength()) != head+len(want) ||
						len(p.GetData()) != head+len(want) || !bytes.Equal(p.GetData()[head:], want) {
						t.Fatalf("packet %d of %d bytes: %v of %d", i, len(want), p.GetDirection(), p.GetLength())
					}
					udp := p.GetData()[head-8:]
					src, dst := binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
					if int(src) != from.Port || int(dst) != to.Port {
						t.Errorf("ports % x, want %v and %v", udp[:4], from, to)
					}
				}
				if pid := got[2*i].GetPid(); int(pid) != os.Getpid() || len(got[2*i].GetComm()) == 0 {
					t.Errorf("sent by %d", pid)
				}
			}
		})
	}
}

func TestCapture_CutsAtTheSnapLength(t *testing.T) {
	h := newHarness(t, Options{SnapLength: 60})
	h.udp("udp4", make([]byte, 1000), make([]byte, 10))
	got := h.packets()
	if len(got) != 4 {
		t.Fatalf("%d packets", len(got))
	}
	for i, want := range []int{60, 60, 38, 38} {
		if len(got[i].GetData()) != want {
			t.Errorf("packet %d of %d bytes: %d captured, want %d", i, got[i].GetLength(), len(got[i].GetData()), want)
		}
	}
}

func TestCapture_IgnoresOtherCgroups(t *testing.T) {
	h := newHarness(t, Options{})
	_, _, closeBoth := sendUDP(t, "udp4", []byte("not in scope"))
	defer closeBoth()
	if got := h.packets(); len(got) > 0 {
		t.Errorf("%d packets", len(got))
	}
	if seen, _, err := h.probe.Counted(); seen != 0 || err != nil {
		t.Errorf("%d packets seen, %v", seen, err)
	}
}

// TestCapture_TCPStream joins the segments of both directions by their sequence numbers.
func TestCapture_TCPStream(t *testing.T) {
	h := newHarness(t, Options{})
	data := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	var port int
	h.group.Run(t, func() {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		port = l.Addr().(*net.TCPAddr).Port
		go func() {
			conn, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_, err = conn.Write(data)
			if err := errors.Join(err, conn.Close()); err != nil {
				t.Error(err)
			}
		}()
		conn, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if n, err := io.Copy(io.Discard, conn); err != nil || int(n) != len(data) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	for _, direction := range []event.PacketDirection{sent, received} {
		stream, first, owned := make([]byte, len(data)), uint32(0), 0
		for _, p := range h.packets() {
			b := p.GetData()
			tcp := b[int(b[0]&15)*4:]
			if p.GetDirection() != direction || int(binary.BigEndian.Uint16(tcp)) != port {
				continue
			}
			if tcp[13]&2 != 0 {
				first = binary.BigEndian.Uint32(tcp[4:]) + 1
			}
			payload := tcp[int(tcp[12]>>4)*4:]
			copy(stream[min(int(binary.BigEndian.Uint32(tcp[4:])-first), len(data)):], payload)
			if int(p.GetPid()) == os.Getpid() {
				owned++
			}
		}
		if !bytes.Equal(stream, data) {
			t.Errorf("%v: another stream", direction)
		}
		if direction == sent && owned == 0 {
			t.Error("no process is known")
		}
	}
}

// toPort is a filter for UDP to a port, over IPv4 without options.
func toPort(port int) []bpf.RawInstruction {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipFalse: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err)
	}
	return raw
}

func TestFilter_InTheKernel(t *testing.T) {
	h := newHarness(t, Options{Filter: toPort(9)})
	h.udp("udp4", []byte("another port"))
	h.group.Run(t, func() {
		conn, err := net.Dial("udp4", "127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("discard")); err != nil {
			t.Fatal(err)
		}
	})
	got := h.packets()
	if len(got) != 1 || !bytes.HasSuffix(got[0].GetData(), []byte("discard")) {
		t.Errorf("%v", got)
	}
	// The receiver has no socket, so its end is not seen.
	if seen, matched, err := h.probe.Counted(); seen != 3 || matched != 1 || err != nil {
		t.Errorf("%d packets seen, %d matched, %v", seen, matched, err)
	}
}

// TestFilter_KnowsTheWholeLength has a filter want what is longer than the part of a packet that is not in pages.
func TestFilter_KnowsTheWholeLength(t *testing.T) {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 40_000, SkipFalse: 1},
		bpf.RetConstant{Val: 1},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, Options{Filter: raw})
	h.udp("udp4", make([]byte, 39_971), make([]byte, 39_972), make([]byte, 10))
	if got := h.packets(); len(got) != 2 || got[0].GetLength() != 40_000 {
		t.Errorf("%d packets: %v", len(got), got)
	}
}

func TestFilter_RefusesWhatIsNoFilter(t *testing.T) {
	for name, raw := range map[string][]bpf.RawInstruction{
		"unknown instruction": {{Op: 0xffff}},
		"no return":           {{Op: 0x20, K: 4}},
		"a jump outside":      {{Op: 0x15, Jt: 9, Jf: 9}, {Op: 6}},
		"an extension":        {{Op: 0x20, K: 0xfffff000}, {Op: 6}},
		"the length's memory": {{Op: 0x80}, {Op: 2, K: lengthSlot}, {Op: 6}},
		"too long":            make([]bpf.RawInstruction, MaxFilter+1),
	} {
		if _, err := translate(raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestLoss_IsExact fills the ring buffer: nobody reads it.
func TestLoss_IsExact(t *testing.T) {
	probe, group := attach(t, Options{RingBytes: 4096})
	const datagrams = 200
	group.Run(t, func() {
		_, _, closeBoth := sendUDP(t, "udp4", slices.Repeat([][]byte{make([]byte, 100)}, datagrams)...)
		t.Cleanup(closeBoth)
	})
	if err := bpftest.DeliverLoopback(); err != nil {
		t.Fatal(err)
	}
	read := 0
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	done := make(chan error, 1)
	go func() { done <- probe.Run(ctx, func(uint64, *event.Event) { read++ }) }()
	err := probe.Flush(ctx)
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	var lost uint64
	for _, l := range probe.Lost() {
		if l.Cgroup != group.ID {
			t.Errorf("%d lost of cgroup %d", l.Count, l.Cgroup)
		}
		lost += l.Count
	}
	if read == 0 || lost == 0 || read+int(lost) != 2*datagrams {
		t.Errorf("%d read and %d lost of %d", read, lost, 2*datagrams)
	}
}
