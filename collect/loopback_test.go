package collect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// podNetworks names no address; the pod "pod" has a network namespace of its own.
type podNetworks struct{}

func (podNetworks) Name(netip.Addr, uint16, event.Protocol) Name              { return Name{} }
func (podNetworks) Backs(netip.AddrPort, netip.AddrPort, event.Protocol) bool { return false }
func (podNetworks) OwnNetwork(uid string) bool                                { return uid == "pod" }

// What comes from a loopback address comes from the pod itself, but on the node's network it may come from any process.
func TestCollector_NamesLoopbackPeer(t *testing.T) {
	for _, c := range []struct{ name, uid, address, want string }{
		{"IPv4", "pod", "127.0.0.1", "server"},
		{"IPv6", "pod", "::1", "server"},
		{"another address", "pod", "10.0.0.9", ""},
		{"node's network", "host", "127.0.0.1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, Options{Namer: podNetworks{}}, func(w *world) {
				address := netip.MustParseAddr(c.address).AsSlice()
				ev := &event.Event{
					Time: uint64(time.Now().UnixNano()), Node: "a", Namespace: "ns", Pod: "server", PodUid: c.uid,
					Container: "main",
					Kind: &event.Event_Tcp{Tcp: &event.Tcp{
						Outcome: event.TCPOutcome_TCP_OUTCOME_ACCEPTED, Observed: event.Side_SIDE_DST,
						Src: &event.Endpoint{Address: address, Port: 40000}, Dst: &event.Endpoint{Address: address,
							Port: 80},
					}},
				}
				b := Batch{Instance: 1, Sequence: 1, Events: []*event.Event{ev},
					Watermark: uint64(time.Now().UnixNano())}
				if err := w.c.Add("a").Feed(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				got := w.take(time.Second)
				if len(got) != 1 {
					t.Fatalf("%d events, want 1", len(got))
				}
				// Which of the pod's containers it was is not known.
				if src := got[0].GetTcp().GetSrc(); src.GetPod() != c.want || src.GetContainer() != "" {
					t.Errorf("src is %v, want the pod %q", src, c.want)
				}
			})
		})
	}
}
