package flows

import (
	"net"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// spray sends a datagram to each of many ports from one socket of a cgroup: each but the first is a flow in the map.
func spray(tr *trace, from *bpftest.Cgroup, address string, ports int) *net.UDPConn {
	tr.Helper()
	conn := listenUDP(tr, from, address)
	for port := range ports {
		_, err := conn.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(address), Port: 20000 + port})
		tr.check(err)
	}
	return conn
}

// sprayed is how many of the flows of a cgroup have come, each perhaps more than once.
func sprayed(tr *trace, c *bpftest.Cgroup) int {
	ports := make(map[uint32]bool)
	for _, ev := range tr.of(c, everything) {
		ports[ev.GetFlow().GetDst().GetPort()] = true
	}
	return len(ports)
}

func TestFlowMaps_FloodLeavesRoomForOthers(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			const room, flows, calls = 400, 2000, 5
			tr := newTrace(t, Options{MaxFlows: room})
			flood, quiet := tr.wanted("flood"), tr.wanted("quiet")
			spray(tr, flood, address, flows)
			spray(tr, quiet, address, calls)
			tr.flush()
			if n := sprayed(tr, quiet); n != calls {
				t.Errorf("%d of %d flows of the quiet cgroup came", n, calls)
			}
			var gone int
			for _, l := range tr.probe.Lost() {
				if l.Stage == event.LossStage_LOSS_STAGE_KERNEL_MAP && l.Cgroup != flood.ID {
					t.Errorf("another than the flood lost: %+v", l)
				}
				gone += int(l.Count)
			}
			if n := sprayed(tr, flood); n < room || n+gone != flows {
				t.Errorf("%d flows came and %d are lost of %d", n, gone, flows)
			}
		})
	}
}

func TestFlowMaps_ShareIsFreeAfterRemoval(t *testing.T) {
	const room = 50
	tr := newTrace(t, Options{MaxFlows: room})
	flood := tr.wanted("flood")
	for i := range 3 {
		lostBefore := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP)
		conn := spray(tr, flood, "127.0.0.1", room)
		if n := lost(tr, event.LossStage_LOSS_STAGE_KERNEL_MAP); n != lostBefore {
			t.Errorf("round %d: %d of %d flows found no room", i, n-lostBefore, room)
		}
		conn.Close()
		for range 3 { // one closes the flows, the next removes them
			tr.flush()
		}
	}
	if n := count(tr, tr.probe.objects.PacketFlows4); n != 0 {
		t.Errorf("%d flows are left", n)
	}
	var share struct{ Held [2]int64 }
	if err := tr.probe.objects.Shares.Lookup(flood.ID, &share); err != nil || share.Held != [2]int64{} {
		t.Errorf("the cgroup holds %v, %v; want nothing", share.Held, err)
	}
}
