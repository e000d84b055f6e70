package collect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// seenQuery is a query as the node of one side reports it.
type seenQuery struct {
	side           event.Side
	client, server string // address:port
	pod            string // its UID
	id             uint32
	attempts       uint32
	outcome        event.DnsOutcome
	at             time.Time
}

func (q seenQuery) event() *event.Event {
	end := func(s string) *event.Endpoint {
		a := netip.MustParseAddrPort(s)
		return &event.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())}
	}
	d := &event.Dns{
		Observed: q.side, Protocol: event.Protocol_PROTOCOL_UDP, Name: "a.example.", Type: "A", QueryId: &q.id,
		Attempts: max(1, q.attempts), Outcome: q.outcome, Src: end(q.client), Dst: end(q.server),
	}
	if q.outcome == 0 {
		d.Outcome, d.LatencyMicros = event.DnsOutcome_DNS_OUTCOME_ANSWERED, proto.Uint64(200)
	}
	pod := "client"
	if q.side == event.Side_SIDE_DST {
		pod = "server"
	}
	return &event.Event{
		Time: uint64(q.at.UnixNano()), Namespace: "ns", Pod: pod, PodUid: q.pod, Kind: &event.Event_Dns{Dns: d},
	}
}

func TestQuery_OneEventForBothSides(t *testing.T) {
	const server, vip = "10.0.2.1:5353", "10.96.0.10:53"
	timedOut := event.DnsOutcome_DNS_OUTCOME_TIMEOUT
	for name, c := range map[string]struct {
		nodes []string
		seen  []seenQuery
		want  []event.Side
	}{
		"loopback within a pod": {
			[]string{"a", "a"}, []seenQuery{
				{side: bySrc, client: "127.0.0.1:4000", server: "127.0.0.1:53"},
				{side: byDst, client: "127.0.0.1:4000", server: "127.0.0.1:53"},
			}, []event.Side{bySrc},
		},
		"loopback within each of two pods": {
			[]string{"a", "a"}, []seenQuery{
				{side: bySrc, client: "127.0.0.1:4000", server: "127.0.0.1:53", pod: "own-1"},
				{side: byDst, client: "127.0.0.1:4000", server: "127.0.0.1:53", pod: "own-2"},
			}, []event.Side{bySrc, byDst},
		},
		"loopback of a node, between two pods": {
			[]string{"a", "a"}, []seenQuery{
				{side: bySrc, client: "127.0.0.1:4000", server: "127.0.0.1:53", pod: "host-1"},
				{side: byDst, client: "127.0.0.1:4000", server: "127.0.0.1:53", pod: "host-2"},
			}, []event.Side{bySrc},
		},
		"loopback on two nodes": {
			[]string{"a", "b"}, []seenQuery{
				{side: bySrc, client: "127.0.0.1:4000", server: "127.0.0.1:53"},
				{side: byDst, client: "127.0.0.1:4000", server: "127.0.0.1:53"},
			}, []event.Side{bySrc, byDst},
		},
		"host network, server first": {
			[]string{"b", "a"}, []seenQuery{
				{side: byDst, client: "10.0.1.9:4000", server: server},
				{side: bySrc, client: "10.0.1.9:4000", server: server},
			}, []event.Side{bySrc},
		},
		"masqueraded to a Service": {
			[]string{"a", "b"}, []seenQuery{
				{side: bySrc, client: "10.0.1.1:4000", server: vip},
				{side: byDst, client: "10.0.1.9:61000", server: server},
			}, []event.Side{bySrc},
		},
		"another query through the same node": {
			[]string{"a", "b"}, []seenQuery{
				{side: bySrc, client: "10.0.1.1:4000", server: vip, id: 1},
				{side: byDst, client: "10.0.1.9:61000", server: server, id: 2},
			}, []event.Side{bySrc, byDst},
		},
		"another port of the same pod": {
			[]string{"a", "b"}, []seenQuery{
				{side: bySrc, client: "10.0.1.1:4000", server: vip},
				{side: byDst, client: "10.0.1.1:4001", server: server},
			}, []event.Side{bySrc, byDst},
		},
		"the client's port is no DNS port": {
			[]string{"b"}, []seenQuery{{side: byDst, client: "10.0.1.1:4000", server: server}}, []event.Side{byDst},
		},
		"repeated by the client": {
			[]string{"b", "b", "a"}, []seenQuery{
				{side: byDst, client: "10.0.1.1:4000", server: server},
				{side: byDst, client: "10.0.1.1:4000", server: server},
				{side: bySrc, client: "10.0.1.1:4000", server: vip, attempts: 2},
			}, []event.Side{bySrc},
		},
		"two queries with one id": {
			[]string{"a", "b", "b"}, []seenQuery{
				{side: bySrc, client: "10.0.1.1:4000", server: vip},
				{side: byDst, client: "10.0.1.1:4000", server: server},
				{side: byDst, client: "10.0.1.1:4000", server: server},
			}, []event.Side{bySrc, byDst},
		},
		"the answer did not reach the client": {
			[]string{"b", "", "a"}, []seenQuery{
				{side: byDst, client: "10.0.1.1:4000", server: server},
				{},
				{side: bySrc, client: "10.0.1.1:4000", server: server, outcome: timedOut},
			}, []event.Side{bySrc},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{Namer: dnsNames{}}, func(w *world) {
				for i, q := range c.seen {
					if w.feed("a"); c.nodes[i] == "" {
						time.Sleep(queryTimeout)
						continue
					}
					q.at = time.Now()
					w.feed(c.nodes[i], q.event())
				}
				var got []event.Side
				for _, ev := range w.take(10 * time.Second) {
					got = append(got, ev.GetDns().GetObserved())
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
}

// dnsNames adds a Service to askers.
type dnsNames struct{ askers }

func (n dnsNames) Name(a netip.Addr, port uint16, p event.Protocol) Name {
	if a.String() == "10.96.0.10" {
		return Name{Service: "dns", ServiceNamespace: "ns", Observed: true}
	}
	return n.askers.Name(a, port, p)
}

func (dnsNames) Backs(vip, backend netip.AddrPort, _ event.Protocol) bool {
	return vip.String() == "10.96.0.10:53" && backend.String() == "10.0.2.1:5353"
}

func (dnsNames) OwnNetwork(uid string) bool { return strings.HasPrefix(uid, "own-") }

// TestQuery_NamesTranslatedService queries from a node's network, where only the answer has the Service's address.
func TestQuery_NamesTranslatedService(t *testing.T) {
	for name, c := range map[string]struct {
		side           event.Side
		server, answer string
		want           string
	}{
		"the Service's pod":    {bySrc, "10.0.2.1:5353", "10.96.0.10:53", "ns/dns 10.96.0.10:53"},
		"a pod of no Service":  {bySrc, "10.0.2.2:5353", "10.96.0.10:53", "/ invalid AddrPort"},
		"a stranger's answer":  {bySrc, "10.0.2.1:5353", "10.0.1.2:53", "/ invalid AddrPort"},
		"the server's side":    {byDst, "10.0.2.1:5353", "10.96.0.10:53", "/ invalid AddrPort"},
		"seen with one's port": {bySrc, "10.96.0.10:53", "10.0.1.2:53", "ns/dns 10.96.0.10:53"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{Namer: dnsNames{}}, func(w *world) {
				q := seenQuery{side: c.side, client: "10.0.1.9:4000", server: c.server, at: time.Now()}
				ev := q.event()
				answer := netip.MustParseAddrPort(c.answer)
				ev.GetDns().Dst.ServiceAddress, ev.GetDns().Dst.ServicePort = answer.Addr().AsSlice(),
					uint32(answer.Port())
				w.feed("a", ev)
				events := w.take(10 * time.Second)
				if len(events) != 1 {
					t.Fatalf("%d events, want 1", len(events))
				}
				d := events[0].GetDns().GetDst()
				address, _ := netip.AddrFromSlice(d.GetServiceAddress())
				got := fmt.Sprintf("%s/%s %s", d.GetServiceNamespace(), d.GetService(),
					netip.AddrPortFrom(address, uint16(d.GetServicePort())))
				if got != c.want {
					t.Errorf("Service %s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestQuery_ExactlyOneEvent reports either side or both of many queries, in any order and with delays.
func TestQuery_ExactlyOneEvent(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 9))
		inWorld(t, Options{Namer: dnsNames{}}, func(w *world) {
			w.feed("a")
			want, both, got := 0, 0, map[event.Side]int{}
			var late []*event.Event
			for i := range 50 {
				at := time.Now()
				q := seenQuery{client: fmt.Sprintf("10.0.1.1:%d", 4000+i), server: "10.96.0.10:53", id: r.Uint32N(3),
					at: at}
				s := q
				q.side, s.side, s.server = bySrc, byDst, "10.0.2.1:5353"
				switch r.IntN(4) {
				case 0: // the client is in the host network
					q.client = fmt.Sprintf("10.0.1.9:%d", 4000+i)
					q.id = uint32(100 + i)
					s.client, s.id = q.client, q.id
				case 1: // a pod behind SNAT, at another time
					time.Sleep(2 * time.Second)
					q.at, s.at = time.Now(), time.Now()
					s.client, q.id = fmt.Sprintf("10.0.1.9:%d", 60000+i), uint32(100+i)
					s.id = q.id
				}
				sides := 1 + r.IntN(3)
				want++
				if sides == 3 {
					both++
				}
				events := map[string]*event.Event{"a": q.event(), "b": s.event()}
				if sides&1 == 0 {
					delete(events, "a")
				}
				if sides&2 == 0 {
					delete(events, "b")
				}
				for node, ev := range events { // in random order
					if node == "b" && r.IntN(4) == 0 {
						late = append(late, ev)
						continue
					}
					w.feed(node, ev)
					time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
				}
				if len(late) > 0 && time.Since(time.Unix(0, int64(late[0].GetTime()))) > 4*time.Second {
					w.feed("b", late...)
					late = nil
				}
				if s.client != q.client {
					time.Sleep(2 * time.Second)
				}
			}
			w.feed("b", late...)
			for _, ev := range w.take(20 * time.Second) {
				got[ev.GetDns().GetObserved()]++
			}
			if got[bySrc]+got[byDst] != want {
				t.Fatalf("seed %d: %v for %d queries, of which %d were seen by both sides", seed, got, want, both)
			}
		})
	}
}
