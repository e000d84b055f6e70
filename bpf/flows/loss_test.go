package flows

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

func lost(tr *trace, stage event.LossStage) (n uint64) {
	for _, l := range tr.probe.Lost() {
		if l.Stage == stage {
			n += l.Count
		}
	}
	return n
}

func TestProbe_CountsAFullRing(t *testing.T) {
	tr := newTrace(t, Options{RingBytes: 1}) // a page, for some 20 events
	client := tr.wanted("client")
	release := tr.hold()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.check(err)
	bpftest.CloseAfter(t, l)
	const connections = 200
	client.Run(t, func() {
		for range connections {
			c, err := net.Dial("tcp", l.Addr().String())
			tr.check(err)
			tr.check(c.(*net.TCPConn).SetLinger(0)) // Close sends a RST
			c.Close()
		}
	})
	release()
	tr.flush()
	delivered := len(tr.of(client, func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED }))
	gone := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_BUFFER)
	if gone == 0 || delivered == 0 || delivered+int(gone) != connections {
		t.Errorf("%d delivered and %d lost of %d", delivered, gone, connections)
	}
}

func TestScan_MoreSocketsThanTheRingHolds(t *testing.T) {
	tr := newTrace(t, Options{RingBytes: 1})
	client := tr.wanted("client")
	const connections = 200
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.check(err)
	bpftest.CloseAfter(t, l)
	client.Run(t, func() {
		for range connections {
			c, err := net.Dial("tcp", l.Addr().String())
			tr.check(err)
			t.Cleanup(func() { c.Close() })
		}
	})
	tr.flush()
	seen := make(map[uint64]bool)
	for _, ev := range tr.of(client, everything) {
		seen[ev.GetFlow().SocketCookie] = true
	}
	if len(seen) != connections || len(tr.probe.Lost()) != 0 {
		t.Errorf("%d of %d reported, %v lost", len(seen), connections, tr.probe.Lost())
	}
}

func TestFlowMaps_CountPacketsWithoutRoom(t *testing.T) {
	const room, peers, each = 4, 10, 3
	tr := newTrace(t, Options{MaxFlows: room})
	client, server := tr.wanted("client"), tr.wanted("server")
	s := listenUDP(tr, server, "127.0.0.1")
	for range peers {
		send(tr, dialUDP(tr, client, s.LocalAddr()).Write, s, each, 10)
	}
	tr.flush()
	// The last event of each: with no room left, idle flows are closed at once.
	last := make(map[uint32]uint64)
	for _, ev := range tr.of(server, everything) {
		last[ev.GetFlow().Src.Port] = own(t, ev.GetFlow()).PacketsReceived
	}
	var counted uint64
	for _, n := range last {
		counted += n
	}
	gone := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP)
	if want := uint64(room+1) * each; counted != want || counted+gone != peers*each {
		t.Errorf("%d packets counted and %d lost, want %d counted of %d", counted, gone, want, peers*each)
	}
}

func TestWatermark_BoundsLaterEvents(t *testing.T) {
	tr := newTrace(t, Options{Interval: time.Millisecond})
	client, server := tr.wanted("client"), tr.wanted("server")
	var broken int
	tr.onEvent(func(ev *event.Event) {
		if ev.Time < tr.probe.Watermark() {
			broken++
		}
	})
	start := uint64(time.Now().UnixNano())
	for range 20 {
		p := connect(tr, client, server, "127.0.0.1")
		exchange(tr, p)
		tr.check(p.client.Close())
		tr.check(p.server.Close())
	}
	tr.flush()
	tr.stop()
	if broken > 0 {
		t.Errorf("%d events are older than the watermark", broken)
	}
	if w := tr.probe.Watermark(); w < start || w > uint64(time.Now().UnixNano()) {
		t.Errorf("watermark %d, the test began at %d", w, start)
	}
}

func TestRetransmissionsAreNoPayload(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	rules(tr, `
		table inet loss {
			chain input {
				type filter hook input priority 0;
				meta l4proto tcp numgen inc mod 5 3 drop
			}
		}`)
	p := connect(tr, client, server, "127.0.0.1")
	exchange(tr, p)
	settle(tr, p)
	for name, end := range map[string]struct {
		conn *net.TCPConn
		flow *event.Flow
	}{"client": {p.client, tr.current(client)}, "server": {p.server, tr.current(server)}} {
		info := tcpInfo(tr, end.conn)
		if n := own(t, end.flow); n.GetRetransmits() == 0 || n.GetRetransmits() != uint64(info.Total_retrans) {
			t.Errorf("%s: %d retransmits, TCP_INFO says %d", name, n.GetRetransmits(), info.Total_retrans)
		}
	}
	tr.check(p.client.Close())
	tr.check(p.server.Close())
	checkPayload(t, tr.closed(client), request, response)
	checkPayload(t, tr.closed(server), response, request)
}

// rules loads an nftables ruleset into the test's own network namespace until the test ends.
func rules(tr *trace, ruleset string) {
	tr.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		tr.Skip("needs nft")
	}
	// Never flush the rules of the machine or of a user's namespace.
	if os.Getenv("ORB8_BPFTEST_NETNS") == "" {
		tr.Fatal("not in a network namespace of our own")
	}
	nft := func(args ...string) {
		tr.Helper()
		if out, err := exec.Command("nft", args...).CombinedOutput(); err != nil {
			tr.Fatalf("nft: %v: %s", err, out)
		}
	}
	nft(ruleset)
	tr.Cleanup(func() { nft("flush", "ruleset") })
}
