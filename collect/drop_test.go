package collect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// dropped is a node's report of a packet from client (on node a) to server (on node b).
func dropped(node string, observed event.Side) *event.Event {
	ev := &event.Event{
		Time: uint64(time.Now().UnixNano()), Node: node, Namespace: "ns", Pod: "client",
		Kind: &event.Event_Drop{Drop: &event.Drop{
			Id: node, Observed: observed, Protocol: event.Protocol_PROTOCOL_UDP,
			Src: &event.Endpoint{Address: netip.MustParseAddr("10.0.1.1").AsSlice(), Port: 1},
			Dst: &event.Endpoint{Address: netip.MustParseAddr("10.0.2.1").AsSlice(), Port: 2},
		}},
	}
	if observed == event.Side_SIDE_DST {
		ev.Pod = "server"
	}
	return ev
}

// both names the two pods; both are observed.
type both struct{}

func (both) Name(a netip.Addr, _ uint16, _ event.Protocol) Name {
	if a == netip.MustParseAddr("10.0.1.1") {
		return Name{Namespace: "ns", Pod: "client", Node: "a", Observed: true}
	}
	return Name{Namespace: "ns", Pod: "server", Node: "b", Observed: true}
}
func (both) Backs(netip.AddrPort, netip.AddrPort, event.Protocol) bool { return false }

func TestDrop_SharedKernelReportsOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		kernel [2]string
		want   []string
	}{
		{"one kernel", [2]string{"k", "k"}, []string{"b"}},
		{"two kernels", [2]string{"k", "l"}, []string{"a", "b"}},
		{"unknown kernels", [2]string{"", ""}, []string{"a", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, Options{Namer: both{}}, func(w *world) {
				feed := func(node, kernel string, events ...*event.Event) {
					w.sequence[node]++
					b := Batch{Instance: 1, Sequence: w.sequence[node], Events: events,
						Watermark: uint64(time.Now().UnixNano()), Kernel: kernel}
					if err := w.c.Add(node).Feed(t.Context(), b); err != nil {
						t.Fatal(err)
					}
				}
				feed("b", c.kernel[1])
				feed("a", c.kernel[0], dropped("a", event.Side_SIDE_SRC))
				feed("b", c.kernel[1], dropped("b", event.Side_SIDE_DST))
				got := w.take(time.Second)
				if len(got) != len(c.want) {
					t.Fatalf("%v, want those of %v", got, c.want)
				}
				for i, ev := range got {
					d := ev.GetDrop()
					if ev.GetNode() != c.want[i] || d.GetSrc().GetPod() != "client" || d.GetDst().GetPod() != "server" {
						t.Errorf("%v", ev)
					}
				}
			})
		})
	}
}
