package collect

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// asked is a node's report of a query from client (on node a) to server (on node b).
func asked(node string, observed event.Side, client string) *event.Event {
	ev := &event.Event{
		Time: uint64(time.Now().UnixNano()), Node: node, Namespace: "ns", Pod: "client",
		Kind: &event.Event_Dns{Dns: &event.Dns{
			Observed: observed, Protocol: event.Protocol_PROTOCOL_UDP, Name: "a.example.", Type: "A", Attempts: 1,
			QueryId: proto.Uint32(7),
			Src:     &event.Endpoint{Address: netip.MustParseAddr(client).AsSlice(), Port: 4000},
			Dst:     &event.Endpoint{Address: netip.MustParseAddr("10.0.2.1").AsSlice(), Port: 53},
		}},
	}
	if observed == event.Side_SIDE_DST {
		ev.Pod = "server"
	}
	return ev
}

// askers names 10.0.1.1, an observed pod, 10.0.1.2, an unobserved pod, 10.0.1.9, a node, and the server.
type askers struct{}

func (askers) Name(a netip.Addr, _ uint16, _ event.Protocol) Name {
	switch a.String() {
	case "10.0.1.1":
		return Name{Namespace: "ns", Pod: "client", Node: "a", Observed: true}
	case "10.0.1.2":
		return Name{Namespace: "other", Pod: "stranger", Node: "a"}
	case "10.0.1.9":
		return Name{Node: "a", Observed: true} // any of its pods may be the client
	case "10.0.2.1":
		return Name{Namespace: "ns", Pod: "server", Node: "b", Observed: true}
	}
	return Name{}
}
func (askers) Backs(netip.AddrPort, netip.AddrPort, event.Protocol) bool { return false }

func TestQuery_ObservedClientReports(t *testing.T) {
	const src, dst = event.Side_SIDE_SRC, event.Side_SIDE_DST
	for _, c := range []struct {
		client string
		sides  []event.Side
		want   []string // node, client, server
	}{
		{"10.0.1.1", []event.Side{src, dst}, []string{"a client server"}},
		{"10.0.1.1", []event.Side{dst}, []string{"b client server"}},
		{"10.0.1.1", []event.Side{dst, src}, []string{"a client server"}},
		{"10.0.1.9", []event.Side{dst, src}, []string{"a client server"}},
		{"10.0.1.9", []event.Side{src, dst}, []string{"a client server"}},
		{"10.0.1.2", []event.Side{dst}, []string{"b stranger server"}},
		{"10.0.1.9", []event.Side{dst}, []string{"b  server"}},
		{"192.0.2.1", []event.Side{dst}, []string{"b  server"}},
	} {
		inWorld(t, Options{Namer: askers{}}, func(w *world) {
			for _, side := range c.sides {
				node := map[event.Side]string{src: "a", dst: "b"}[side]
				w.sequence[node]++
				b := Batch{Instance: 1, Sequence: w.sequence[node], Events: []*event.Event{asked(node, side, c.client)},
					Watermark: uint64(time.Now().UnixNano())}
				if err := w.c.Add(node).Feed(t.Context(), b); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, ev := range w.take(10 * time.Second) {
				got = append(got, ev.GetNode()+" "+ev.GetDns().GetSrc().GetPod()+" "+ev.GetDns().GetDst().GetPod())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s asks, seen from %v: %q, want %q", c.client, c.sides, got, c.want)
			}
		})
	}
}
