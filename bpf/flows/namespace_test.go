package flows

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestOtherNetworkNamespacesAreSeen(t *testing.T) {
	for _, when := range []string{"younger", "older"} {
		t.Run(when+" than the trace", func(t *testing.T) {
			tr := newScope(t)
			c := tr.wanted("pod")
			if when == "younger" {
				tr.open(Options{})
			}
			var conn closers
			c.Run(t, func() {
				bpftest.InNetns(t, func() error {
					pair, err := talk(1234)
					conn, _ = pair.(closers)
					return err
				})
			})
			bpftest.CloseAfter(t, conn)
			if when == "older" {
				tr.open(Options{})
			}
			tr.flush()
			for _, side := range []event.Side{event.Side_SIDE_SRC, event.Side_SIDE_DST} {
				f := tr.last(c, side.String(), func(f *event.Flow) bool { return f.Observed == side }).GetFlow()
				if n := own(t, f); n.BytesSent+n.BytesReceived != 1234 || !f.IsnValid {
					t.Errorf("%v", f)
				}
			}
		})
	}
}

// On a node's own network a connected socket's packets to a ClusterIP have been translated before they are seen, and
// those that come back have been translated before the socket sees them.
func TestATranslatedConversationIsOneFlow(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	lo, err := netlink.LinkByName("lo")
	tr.check(err)
	// A route to the ClusterIP's network.
	addr, err := netlink.ParseAddr("10.96.0.1/24")
	tr.check(err)
	tr.check(netlink.AddrAdd(lo, addr))
	t.Cleanup(func() { tr.check(netlink.AddrDel(lo, addr)) })
	s := listenUDP(tr, server, "127.0.0.1")
	to := s.LocalAddr().(*net.UDPAddr).AddrPort()
	rules(tr, `table ip nat {
		chain output {
			type nat hook output priority -100;
			ip daddr 10.96.0.10 udp dport 53 dnat to `+to.String()+`
		}
	}`)
	clusterIP := netip.MustParseAddrPort("10.96.0.10:53")
	c := dialUDP(tr, client, net.UDPAddrFromAddrPort(clusterIP))
	from := send(tr, c.Write, s, 3, 100)
	send(tr, func(b []byte) (int, error) { return s.WriteToUDPAddrPort(b, from) }, c, 4, 200)
	f := tr.current(client)
	checkPackets(t, f, 3, 300, 4, 800)
	if got := hostPort(t, f.Dst); got != clusterIP.String() {
		t.Errorf("to %s, want the address the socket is connected to", got)
	}
	tr.check(c.Close())
	tr.closed(client)
	if n := len(tr.of(client, everything)); n != 2 {
		t.Errorf("%d events, want one new and one closed:\n%s", n, tr.dump())
	}
}
