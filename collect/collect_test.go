package collect

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// client and server are the halves of one TCP connection, seen through no NAT.
var (
	client = shape{
		pod: "client", observed: bySrc, src: "10.0.0.1:40000", dst: "10.0.1.1:8080", isn: [2]uint32{7, 9}, proto: tcp,
		cookie: 1,
		phase:  fresh, sent: 10, recv: 20,
	}
	server = shape{
		pod: "server", observed: byDst, src: "10.0.0.1:40000", dst: "10.0.1.1:8080", isn: [2]uint32{7, 9}, proto: tcp,
		cookie: 1,
		phase:  fresh, sent: 20, recv: 10,
	}
)

func (s shape) as(phase event.Phase, sent uint64) shape {
	s.phase = phase
	if s.observed == bySrc {
		s.sent = sent
	} else {
		s.recv = sent
	}
	return s
}

func TestJoin_TwoHalvesAreOneEvent(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.feed("b")
		w.want(100 * time.Millisecond)
		w.feed("b", server.event())
		w.feed("a")
		w.want(time.Millisecond, "new client+->server+ 10")
		w.want(time.Minute)
	})
}

func TestJoin_HalfWaitsJoinWindow(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.want(299 * time.Millisecond)
		w.want(2*time.Millisecond, "new client+->server 10")
	})
}

// onNodeB names pods as names does, all on node b.
type onNodeB struct{ names }

func (n onNodeB) Name(addr netip.Addr, port uint16, proto event.Protocol) Name {
	name := n.names.Name(addr, port, proto)
	if name.Pod != "" {
		name.Node = "b"
	}
	return name
}

func TestJoin_StartingNodeIsNotAwaited(t *testing.T) {
	inWorld(t, Options{Namer: onNodeB{cluster}, SkipStarting: true}, func(w *world) {
		w.c.Add("b") // its tracer starts
		w.feed("a", client.event())
		w.want(time.Millisecond, "new client+->server 10")
		w.feed("b", server.event()) // which comes with the next update
		w.feed("a", client.as(later, 30).event())
		w.want(2*time.Second, "update client+->server+ 30")
	})
	inWorld(t, Options{Namer: onNodeB{cluster}, SkipStarting: true}, func(w *world) {
		w.feed("b")
		w.feed("a", client.event())
		w.want(100 * time.Millisecond)
		w.feed("b", server.event())
		w.feed("a")
		w.want(10*time.Millisecond, "new client+->server+ 10")
	})
}

// A node whose agent does not answer holds no flow up; once it answers, its halves are awaited again.
func TestJoin_PausedNodeIsNotAwaited(t *testing.T) {
	inWorld(t, Options{Namer: onNodeB{cluster}}, func(w *world) {
		b := w.c.Add("b")
		b.Close()
		w.feed("a", client.event())
		w.want(time.Millisecond, "new client+->server 10")
	})
	inWorld(t, Options{Namer: onNodeB{cluster}}, func(w *world) {
		b := w.c.Add("b")
		b.Close()
		b.Open()
		w.feed("b")
		w.feed("a", client.event())
		w.want(100 * time.Millisecond)
		w.feed("b", server.event())
		w.feed("a")
		w.want(10*time.Millisecond, "new client+->server+ 10")
	})
}

func TestJoin_UnobservedPeerIsNotAwaited(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		out := client
		out.dst = "1.1.1.1:443"
		w.feed("a", out.event())
		w.want(time.Millisecond, "new client+->1.1.1.1 10")
	})
}

func TestJoin_LateHalfIsInNextUpdate(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.want(time.Second, "new client+->server 10")
		w.feed("b", server.event())
		w.want(10 * time.Millisecond)
		w.feed("a", client.as(later, 30).event())
		w.want(time.Second, "update client+->server+ 30")
	})
}

func TestJoin_LateHalfOfSilentFlowIsEmitted(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.want(time.Second, "new client+->server 10")
		w.feed("b", server.event())
		w.want(2*time.Second, "update client+->server+ 10")
	})
}

func TestFlow_OneEventPerInterval(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.feed("b", server.event())
		w.want(300*time.Millisecond, "new client+->server+ 10")
		// The nodes sweep 400 ms apart.
		for i := range uint64(5) {
			w.feed("a", client.as(later, 20+10*i).event())
			time.Sleep(400 * time.Millisecond)
			w.feed("b", server.as(later, 20+10*i).event())
			time.Sleep(600 * time.Millisecond)
		}
		w.want(0, "update client+->server+ 20", "update client+->server+ 30", "update client+->server+ 40",
			"update client+->server+ 50", "update client+->server+ 60")
	})
}

func TestClosed_OnceAfterBothEndsClose(t *testing.T) {
	for name, order := range map[string][2]int{"client first": {0, 1}, "server first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{Namer: cluster}, func(w *world) {
				w.feed("a", client.event())
				w.feed("b", server.event())
				w.want(400*time.Millisecond, "new client+->server+ 10")
				end := [2]func(){
					func() { w.feed("a", client.as(closed, 50).event()) },
					func() { w.feed("b", server.as(closed, 50).event()) },
				}
				end[order[0]]()
				w.want(500 * time.Millisecond)
				end[order[1]]()
				w.want(250*time.Millisecond, "closed client+->server+ 50")
				w.want(time.Minute)
			})
		})
	}
}

func TestClosed_WaitsLimitedTimeForOtherEnd(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.feed("b", server.event())
		w.want(400*time.Millisecond, "new client+->server+ 10")
		w.feed("a", client.as(closed, 50).event())
		time.Sleep(time.Millisecond)
		w.feed("b")
		w.want(2500*time.Millisecond, "closed client+->server+ 50")
		// The server process keeps its socket half open for a while: nothing of it makes a second flow.
		w.feed("b", server.as(later, 50).event())
		w.want(10 * time.Minute)
		w.feed("b", server.as(closed, 50).event())
		w.want(time.Minute)
	})
}

func TestClosed_WaitsForLaggingNode(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.feed("b", server.event())
		w.want(400*time.Millisecond, "new client+->server+ 10")
		w.feed("a", client.as(closed, 50).event())
		// The connection to b is cut; it comes back and brings what was kept.
		w.want(5 * time.Second)
		late := server.as(closed, 50)
		late.ago = 5 * time.Second
		w.feed("b", late.event())
		w.want(300*time.Millisecond, "closed client+->server+ 50")
		w.want(time.Minute)
	})
}

func TestClosed_DoesNotWaitForLostNode(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.feed("b", server.event())
		w.want(400*time.Millisecond, "new client+->server+ 10")
		w.feed("a", client.as(closed, 50).event())
		w.want(7900 * time.Millisecond)
		w.want(300*time.Millisecond, "closed client+->server+ 50")
	})
}

func TestEndedFlow_IsOneClosedEvent(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("b", server.as(closed, 5).event())
		w.want(100 * time.Millisecond)
		w.feed("a", client.as(fresh, 5).event(), client.as(closed, 5).event())
		w.want(400*time.Millisecond, "closed client+->server+ 5")
		w.want(time.Minute)
	})
}

func TestEndedFlow_SecondHalfMakesNoNewFlow(t *testing.T) {
	for name, late := range map[string][]shape{
		"closed too": {server.as(closed, 5)},
		"still open": {server.as(fresh, 5), server.as(later, 5), server.as(closed, 5)},
		"no role yet": {shape{pod: "server", observed: bySrc, src: server.dst, dst: server.src, isn: [2]uint32{9, 7},
			proto: tcp, cookie: 1, unsure: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{Namer: cluster}, func(w *world) {
				w.feed("a", client.as(closed, 5).event())
				w.want(time.Second, "closed client+->server 5")
				for _, s := range late {
					w.feed("b", s.event())
					w.want(20 * time.Second)
				}
			})
		})
	}
}

func TestEndedFlow_WaitsForLaggingNode(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		// Node a waits for the name of the client's container, and promises nothing meanwhile.
		a := w.c.Add("a")
		held, c := time.Now(), client.as(closed, 5)
		behind := func() {
			w.sequence["a"]++
			b := Batch{Instance: 1, Sequence: w.sequence["a"], Watermark: uint64(held.UnixNano()) - 1}
			if err := a.Feed(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		behind()
		w.feed("b", server.as(closed, 5).event())
		other := client
		other.pod, other.src, other.dst, other.isn, other.cookie = "x", "10.0.1.2:1", "1.1.1.1:1", [2]uint32{1, 2}, 77
		for i := range uint64(15) {
			time.Sleep(100 * time.Millisecond)
			behind()
			w.feed("b", other.as(later, i).event())
		}
		// They wait for node a until it is further behind than MaxDelay allows, but not for the flow.
		got := w.take(0)
		if len(got) < 4 || summarize(got[0]) != "new x+->1.1.1.1 2" ||
			summarize(got[len(got)-1]) != "update x+->1.1.1.1 14" {
			t.Errorf("%d other events came out while one flow waited", len(got))
		}
		c.ago = time.Since(held)
		w.feed("a", c.event())
		w.feed("b")
		w.want(300*time.Millisecond, "closed client+->server+ 5")
		w.want(time.Minute)
	})
}

func TestEndedFlow_EmittedOneWaitsForLaggingNode(t *testing.T) {
	for _, longer := range []time.Duration{0, time.Minute} {
		inWorld(t, Options{Namer: cluster}, func(w *world) {
			w.feed("a")
			time.Sleep(time.Millisecond)
			w.feed("b", server.as(fresh, 5).event())
			// The connection of node a is cut.
			w.want(time.Second, "new client->server+ 5")
			for range longer / time.Second {
				w.feed("a")
				w.feed("b", server.as(later, 5).event())
				w.take(time.Second)
			}
			w.feed("b", server.as(closed, 9).event())
			w.want(3 * time.Second)
			c := client.as(closed, 9)
			c.ago = 3 * time.Second
			w.feed("a", c.event())
			w.want(300*time.Millisecond, "closed client+->server+ 9")
			w.want(time.Minute)
		})
	}
}

func TestUpdate_HasTheTimeOfItsNewestHalf(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.as(fresh, 5).event())
		w.feed("b", server.as(fresh, 5).event())
		w.want(time.Second, "new client+->server+ 5")
		// The update waits for node b, which then reports the end of its half.
		w.feed("b")
		time.Sleep(time.Millisecond)
		w.feed("a", client.as(later, 7).event())
		time.Sleep(50 * time.Millisecond)
		w.feed("b", server.as(closed, 7).event())
		out := w.take(400 * time.Millisecond)
		if len(out) != 1 || out[0].GetTime() < out[0].GetFlow().GetLastTime() {
			t.Errorf("%v", out)
		}
	})
}

func TestEndedFlow_EmittedOneWaitsForALimitedTime(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a")
		time.Sleep(time.Millisecond)
		w.feed("b", server.as(fresh, 5).event())
		w.want(time.Second, "new client->server+ 5")
		w.feed("b", server.as(closed, 9).event())
		w.want(7 * time.Second)
		w.want(2*time.Second, "closed client->server+ 9")
	})
}

func TestEndedFlow_WaitForLaggingNodeIsLimited(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("lost")
		time.Sleep(time.Millisecond)
		w.feed("b", server.as(closed, 5).event())
		w.want(7 * time.Second)
		w.want(2*time.Second, "closed client->server+ 5")
	})
}

func TestEndedDatagrams_WaitForServersScan(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("b")
		w.feed("a", query.as(closed, 5).event())
		for range 9 {
			w.want(100 * time.Millisecond)
			w.feed("b")
		}
		w.feed("b", answer.as(fresh, 5).event())
		w.want(100*time.Millisecond, "new client+->server+ 5")
		w.want(3*time.Second, "closed client+->server+ 5")
	})
}

func TestEndedDatagrams_WaitForServerIsLimited(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", query.as(closed, 5).event())
		for range 12 {
			w.want(100 * time.Millisecond)
			w.feed("a")
			w.feed("b")
		}
		time.Sleep(100 * time.Millisecond)
		w.feed("a")
		w.feed("b")
		w.want(100*time.Millisecond, "closed client+->server 5")
	})
}

func TestJoin_ICMPByIdentifier(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		ping := query
		ping.proto, ping.src, ping.dst = event.Protocol_PROTOCOL_ICMP, "10.0.0.1:77", "10.0.1.1:0"
		pong := answer
		pong.proto, pong.src, pong.dst = ping.proto, ping.src, ping.dst
		other := ping
		other.src, other.cookie = "10.0.0.1:78", 5
		w.feed("b", pong.event())
		w.feed("a", other.event(), ping.event())
		got := w.take(time.Second)
		if len(got) != 2 || summarize(got[0]) != "new client+->server+ 10" ||
			summarize(got[1]) != "new client+->server 10" {
			t.Fatalf("got %v", got)
		}
		for _, ev := range got {
			if f := ev.GetFlow(); f.GetSrc().GetPort() == 0 || f.GetDst().GetPort() != 0 {
				t.Errorf("the ports are %d and %d, want the identifier and none", f.GetSrc().GetPort(),
					f.GetDst().GetPort())
			}
		}
	})
}

func TestUpdates_AreHeldBack(t *testing.T) {
	inWorld(t, Options{Namer: cluster, Updates: 5 * time.Second}, func(w *world) {
		feed := func(phase event.Phase, sent uint64) {
			w.feed("a", client.as(phase, sent).event())
			w.feed("b", server.as(phase, sent).event())
		}
		feed(fresh, 10)
		w.want(time.Millisecond, "new client+->server+ 10")
		for sent := uint64(20); sent <= 50; sent += 10 {
			w.want(time.Second)
			feed(later, sent)
		}
		w.want(2*time.Second, "update client+->server+ 50")
		feed(closed, 60) // an end is not held back
		w.want(400*time.Millisecond, "closed client+->server+ 60")
	})
}

func TestJoin_BothHalvesOnOneNode(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		other := server
		other.cookie = 2
		w.feed("a", client.event(), other.event())
		w.want(time.Millisecond, "new client+->server+ 10")
	})
}

func TestJoin_TCPThroughServiceAndSNAT(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		c, s := client, server
		c.dst = "10.96.0.1:80"
		s.src = "172.18.0.2:61234" // masqueraded with another port
		w.feed("a", c.event())
		w.feed("b", s.event())
		w.want(250*time.Millisecond, "new client+->web/server+ 10")
	})
}

func TestJoin_NamesServiceAndBackend(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		c := client
		c.dst = "10.96.0.1:80"
		w.feed("a", c.event())
		w.feed("b", server.event())
		d := w.take(250 * time.Millisecond)[0].GetFlow().GetDst()
		if string(d.Address) != string([]byte{10, 0, 1, 1}) || d.Port != 8080 {
			t.Errorf("dst is at %v:%d, want the backend's own address", d.Address, d.Port)
		}
		if string(d.ServiceAddress) != string([]byte{10, 96, 0, 1}) || d.ServicePort != 80 ||
			d.ServiceNamespace != "demo" {
			t.Errorf("service is %s at %v:%d, want what the client dialled", d.ServiceNamespace, d.ServiceAddress,
				d.ServicePort)
		}
		if d.Node != "b" || d.Pod != "server" {
			t.Errorf("dst is %s on %s, want the observed pod and its node", d.Pod, d.Node)
		}
	})
}

func TestJoin_RefusesEqualISNsOfOtherAddresses(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		s := server
		s.src, s.dst = "10.0.1.2:50000", "10.0.1.1:9999"
		w.feed("a", client.event())
		w.feed("b", s.event())
		w.want(600*time.Millisecond, "new client+->server 10", "new server-2->server+ 10")
	})
}

func TestRoles(t *testing.T) {
	mirror := shape{
		pod: "server", observed: bySrc, src: "10.0.1.1:8080", dst: "10.0.0.1:40000", isn: [2]uint32{9, 7}, proto: tcp,
		cookie: 5,
		phase:  fresh, sent: 20, recv: 10, unsure: true,
	}
	t.Run("who knows is right", func(t *testing.T) {
		inWorld(t, Options{Namer: cluster}, func(w *world) {
			w.feed("b", mirror.event())
			w.feed("a", client.event())
			w.want(250*time.Millisecond, "new client+->server+ 10")
		})
	})
	t.Run("when nobody knows the smaller port is dst", func(t *testing.T) {
		inWorld(t, Options{Namer: cluster}, func(w *world) {
			c := client
			c.unsure = true
			w.feed("b", mirror.event())
			w.feed("a", c.event())
			w.want(250*time.Millisecond, "new client+->server+ 10")
		})
	})
	t.Run("the end that learns its role later puts it right", func(t *testing.T) {
		inWorld(t, Options{Namer: cluster}, func(w *world) {
			w.feed("b", mirror.event())
			w.want(400*time.Millisecond, "new server+->client 20")
			w.feed("b", server.as(later, 30).event()) // another socket by its cookie: the first stays
			s := server.as(later, 30)
			s.cookie = 5
			w.feed("b", s.event())
			w.want(400*time.Millisecond, "update client->server+ 30")
		})
	})
}

func TestFlowID_StaysWhenISNsBecomeKnown(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		c := client
		c.noISN, c.sent = true, 0
		w.feed("a", c.event())
		first := w.take(time.Second)
		if len(first) != 1 {
			t.Fatalf("got %d events of a connecting socket, want 1", len(first))
		}
		w.feed("b", server.event())
		w.feed("a", client.as(later, 30).event())
		next := w.take(time.Second)
		if len(next) != 1 || summarize(next[0]) != "update client+->server+ 30" {
			t.Fatalf("got %v, want one update with both ends", next)
		}
		if a, b := first[0].GetFlow().GetId(), next[0].GetFlow().GetId(); a != b || a == "" {
			t.Errorf("id changed from %q to %q", a, b)
		}
	})
}

func TestFlowID_OfTCPDependsOnlyOnISNs(t *testing.T) {
	id := func(halves ...shape) (id string) {
		inWorld(t, Options{Namer: cluster}, func(w *world) {
			for _, h := range halves {
				w.feed(h.pod, h.event())
			}
			id = w.take(time.Second)[0].GetFlow().GetId()
		})
		return id
	}
	other := client
	other.isn[1]++
	if a, b := id(client), id(server); a != b || len(a) != 16 {
		t.Errorf("two viewers name the halves of one flow %q and %q", a, b)
	}
	if a, b := id(client), id(other); a == b {
		t.Errorf("two flows have the id %q", a)
	}
}

var (
	query = shape{
		pod: "client", observed: bySrc, src: "10.0.0.1:40000", dst: "10.0.1.1:5353", proto: udp, cookie: 1,
		phase: fresh, sent: 10,
	}
	answer = shape{
		pod: "server", observed: byDst, src: "10.0.0.1:40000", dst: "10.0.1.1:5353", proto: udp, cookie: 8,
		phase: fresh, recv: 10,
	}
)

func TestJoin_Datagrams(t *testing.T) {
	viaService, masked, hairpin, self := query, answer, query, answer
	viaService.dst = "10.96.0.1:53"
	masked.src = "172.18.0.2:40000"
	hairpin.pod, hairpin.src, hairpin.dst = "server", "10.0.1.1:40000", "10.96.0.1:53"
	self.src = "10.0.1.250:5" // the bridge's address and a random port
	for name, c := range map[string]struct {
		client, server         shape
		clientNode, serverNode string
		want                   string
	}{
		"directly":                   {query, answer, "a", "b", "new client+->server+ 10"},
		"through a Service":          {viaService, answer, "a", "b", "new client+->dns/server+ 10"},
		"through a Service and SNAT": {viaService, masked, "a", "b", "new client+->dns/server+ 10"},
		"with oneself":               {hairpin, self, "b", "b", "new server+->dns/server+ 10"},
	} {
		for order, serverFirst := range map[string]bool{"client first": false, "server first": true} {
			t.Run(name+", "+order, func(t *testing.T) {
				inWorld(t, Options{Namer: cluster}, func(w *world) {
					if serverFirst {
						w.feed(c.serverNode, c.server.event())
						w.feed(c.clientNode, c.client.event())
					} else {
						w.feed(c.clientNode, c.client.event())
						w.feed(c.serverNode, c.server.event())
					}
					w.want(time.Second, c.want)
					w.feed(c.clientNode, c.client.as(closed, 40).event())
					w.feed(c.serverNode, c.server.as(closed, 40).event())
					w.want(time.Second, "closed"+c.want[len("new"):len(c.want)-len("10")]+"40")
					w.want(time.Minute)
				})
			})
		}
	}
}

func TestJoin_HostSocketBehindService(t *testing.T) {
	out := shape{pod: "client", observed: bySrc, src: "172.18.0.2:40000", dst: "10.0.1.1:5353", proto: udp, cookie: 1,
		phase: fresh, sent: 10}
	in := shape{
		pod: "client", observed: byDst, src: "10.96.0.1:53", dst: "172.18.0.2:40000", proto: udp, cookie: 1,
		phase: fresh, recv: 70,
		unsure: true,
	}
	peer := answer
	peer.src = "172.18.0.2:40000"
	sure := in
	sure.unsure = false
	for name, order := range map[string][]shape{
		"out first": {out, in}, "in first": {in, out}, "out first, both sure": {out, sure},
		"in first, both sure": {sure, out},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{Namer: cluster}, func(w *world) {
				began := time.Now()
				for _, h := range order {
					h.start = began
					if h.observed == byDst {
						h.start = began.Add(time.Millisecond)
					}
					w.feed("a", h.event())
				}
				w.feed("b", peer.event())
				got := w.take(time.Second)
				if len(got) != 1 || summarize(got[0]) != "new client+->dns/server+ 10" {
					t.Fatalf("got %d events, first %s", len(got), summarize(got[0]))
				}
				if n := got[0].GetFlow().GetSrcCounters().GetBytesReceived(); n != 70 {
					t.Errorf("src received %d bytes, want the 70 that came from the Service's address", n)
				}
			})
		})
	}
}

func TestJoin_ReusedPortsAreNewFlow(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		q, a := query, answer
		q.start, a.start = time.Now(), time.Now()
		w.feed("a", q.event(), q.as(closed, 10).event())
		w.feed("b", a.event(), a.as(closed, 10).event())
		first := w.take(time.Second)
		time.Sleep(time.Second)
		q.start, a.start, q.cookie = time.Now(), time.Now(), 2
		w.feed("a", q.event())
		w.feed("b", a.event())
		second := w.take(time.Second)
		if len(first) != 1 || len(second) != 1 || summarize(second[0]) != "new client+->server+ 10" {
			t.Fatalf("got %v and %v", first, second)
		}
		if first[0].GetFlow().GetId() == second[0].GetFlow().GetId() {
			t.Error("two conversations have one id")
		}
	})
}

func TestJoin_LoopbackOfTwoPodsStaysApart(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		q, a := query, answer
		q.src, q.dst, a.src, a.dst = "127.0.0.1:4", "127.0.0.1:5", "127.0.0.1:4", "127.0.0.1:5"
		w.feed("a", q.event(), a.event())
		if got := w.take(time.Second); len(got) != 2 {
			t.Fatalf("got %d events, want one of each pod", len(got))
		}
	})
}

func TestRun_EmitsInOrderOfTime(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		at := func(port string, ago time.Duration) *event.Event {
			s := query
			s.src, s.dst, s.ago, s.cookie = "10.0.0.1:"+port, "1.1.1.1:53", ago, uint64(len(port))
			return s.event()
		}
		// Node b has promised nothing newer than the first event of a: that waits for b.
		w.feed("b")
		time.Sleep(100 * time.Millisecond)
		w.feed("a", at("1", 50*time.Millisecond))
		synctest.Wait()
		w.feed("b", at("22", 80*time.Millisecond), at("333", 20*time.Millisecond))
		var order []uint32
		for _, ev := range w.take(time.Second) {
			order = append(order, ev.GetFlow().GetSrc().GetPort())
		}
		if len(order) != 3 || order[0] != 22 || order[1] != 1 || order[2] != 333 {
			t.Errorf("events left as %v", order)
		}
	})
}

func TestRun_WaitsLimitedTimeForSilentNode(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		out := client
		out.dst = "1.1.1.1:443"
		w.feed("dead")
		time.Sleep(10 * time.Millisecond)
		w.feed("a", out.event())
		w.want(200 * time.Millisecond)
		w.want(51*time.Millisecond, "new client+->1.1.1.1 10")
		// From then on it is not waited for at all.
		for range 3 {
			time.Sleep(time.Second)
			w.feed("a", out.as(later, 11).event())
			w.want(time.Millisecond, "update client+->1.1.1.1 11")
		}
	})
}

func TestRun_DoesNotWaitForClosedNode(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		out := client
		out.dst = "1.1.1.1:443"
		w.feed("gone")
		time.Sleep(10 * time.Millisecond)
		w.feed("a", out.event())
		w.want(10 * time.Millisecond)
		w.c.Add("gone").Close()
		w.want(time.Millisecond, "new client+->1.1.1.1 10")
	})
}

func TestFeed_ResumedStreamCountsOnce(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		s := w.c.Add("a")
		feed := func(instance, sequence uint64, events ...*event.Event) {
			t.Helper()
			if err := s.Feed(t.Context(), Batch{Instance: instance, Sequence: sequence, Events: events,
				GapSummary: sequence >= 9}); err != nil {
				t.Fatal(err)
			}
		}
		lost := func(n uint64, stage event.LossStage) *event.Event {
			return &event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Stage: stage, Count: n}}}
		}
		feed(1, 1, lost(3, event.LossStage_LOSS_STAGE_QUEUE))
		feed(1, 2)
		feed(1, 1, lost(3, event.LossStage_LOSS_STAGE_QUEUE)) // a repeated batch
		feed(1, 2)
		w.want(time.Second, "lost a queue 3")
		feed(1, 5) // 3 and 4 are missing
		w.want(2*time.Second, "lost a stream-gap 2")
		feed(1, 9, lost(700, event.LossStage_LOSS_STAGE_STREAM_GAP)) // the tracer's summary replaces the estimate
		w.want(2*time.Second, "lost a stream-gap 700")
		feed(1, 19, lost(600, event.LossStage_LOSS_STAGE_QUEUE))
		w.want(2*time.Second, "lost a queue 600")
		feed(1, 29) // the missing batches held no events
		w.want(2 * time.Second)
		feed(2, 1, lost(1, event.LossStage_LOSS_STAGE_QUEUE)) // another tracer
		w.want(2*time.Second, "lost a queue 1")

		got := w.c.Losses()
		want := []Loss{
			{Node: "a", Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 604},
			{Node: "a", Stage: event.LossStage_LOSS_STAGE_STREAM_GAP, Count: 702},
		}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("losses are %v, want %v", got, want)
		}
	})
}

func TestFlow_CountersContinueAcrossTracers(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		out := query
		out.dst = "1.1.1.1:53"
		w.feed("a", out.as(fresh, 100).event())
		w.want(time.Second, "new client+->1.1.1.1 100")
		s := w.c.Add("a")
		if err := s.Feed(t.Context(),
			Batch{Instance: 2, Sequence: 1, Events: []*event.Event{out.as(fresh, 7).event()}}); err != nil {
			t.Fatal(err)
		}
		w.want(2*time.Second, "update client+->1.1.1.1 107")
	})
}

func TestOpenFlows_EvictionIsCounted(t *testing.T) {
	inWorld(t, Options{Namer: cluster, MaxFlows: 2}, func(w *world) {
		// One batch: between two of them Run may already report what the first has evicted.
		var all []*event.Event
		for i := range uint32(5) {
			s := client
			s.dst, s.isn, s.cookie = "1.1.1.1:443", [2]uint32{i, i + 100}, uint64(i)
			all = append(all, s.event())
		}
		w.feed("a", all...)
		w.want(2*time.Second, "new client+->1.1.1.1 10", "new client+->1.1.1.1 10", "new client+->1.1.1.1 10",
			"new client+->1.1.1.1 10", "new client+->1.1.1.1 10", "lost a merge 3")
	})
}

func TestFinish_EmitsHeldEventsAndEnds(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", client.event())
		w.feed("b", server.event())
		w.want(time.Second, "new client+->server+ 10")
		w.feed("b", server.as(later, 12).event()) // waits for the client's half
		c := client
		c.isn, c.cookie = [2]uint32{70, 90}, 3
		w.feed("a", c.event()) // waits for the server's half
		w.c.Finish()
		synctest.Wait()
		select {
		case err := <-w.ran:
			if err != nil {
				t.Fatal(err)
			}
			w.ran <- nil
		default:
			t.Fatal("run goes on")
		}
		if got := w.take(0); len(got) != 2 {
			t.Errorf("got %d events, want both", len(got))
		}
	})
}

func TestFeed_BlocksWithoutLossOnSlowViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{MaxPending: 10})
		s := c.Add("a")
		slow := make(chan struct{})
		got := 0
		ran := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ran <- c.Run(ctx, func(*event.Event) error {
				<-slow
				got++
				return nil
			})
		}()
		status := func() error {
			return s.Status(ctx, &event.NodeStatus{State: event.NodeState_NODE_STATE_STREAMING})
		}
		blocked := make(chan error, 1)
		go func() {
			for range 1000 {
				if err := status(); err != nil {
					blocked <- err
					return
				}
			}
			blocked <- nil
		}()
		synctest.Wait()
		select {
		case err := <-blocked:
			t.Fatalf("1000 events were accepted while the viewer was blocked: %v", err)
		default:
		}
		close(slow)
		if err := <-blocked; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got != 1000 {
			t.Errorf("%d events came out of 1000", got)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

func TestRun_ReturnsEmitErrorAndFeedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{MaxPending: 1})
		s := c.Add("a")
		broken := errors.New("broken")
		_ = s.Status(t.Context(), &event.NodeStatus{})
		if err := c.Run(t.Context(), func(*event.Event) error { return broken }); err != broken {
			t.Errorf("run ended with %v", err)
		}
		_ = s.Status(t.Context(), &event.NodeStatus{})
		if err := s.Status(t.Context(), &event.NodeStatus{}); !errors.Is(err, ErrEnded) {
			t.Errorf("feeding a merge that has ended gives %v", err)
		}
	})
}

func TestPendingTexts_AreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Namer: cluster, MaxPendingBytes: 1 << 20})
		s := c.Add("a")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		fed := 0
		for ; ; fed++ {
			now := uint64(time.Now().UnixNano())
			ev := &event.Event{Time: now, Pod: "p",
				Kind: &event.Event_Exec{Exec: &event.Exec{Args: make([]byte, 1<<16)}}}
			if err := s.Feed(ctx, Batch{Instance: 1, Sequence: uint64(fed) + 1,
				Events: []*event.Event{ev}}); err != nil {
				break
			}
			if fed > 100 {
				t.Fatal("6 MiB wait to be emitted, want 1")
			}
		}
		if got := c.Losses(); len(got) != 0 || fed != 16 {
			t.Errorf("%d events of 64 KiB wait, lost %v", fed, got)
		}
	})
}

func TestOpenFlows_TextsAreBounded(t *testing.T) {
	inWorld(t, Options{Namer: cluster, MaxFlowBytes: 1 << 20}, func(w *world) {
		var all []*event.Event
		for i := range uint32(1000) {
			s := client
			s.dst, s.isn, s.cookie = "1.1.1.1:443", [2]uint32{i, i + 1000}, uint64(i)
			ev := s.event()
			ev.Workload = strings.Repeat("w", 4000)
			all = append(all, ev)
		}
		w.feed("a", all...)
		w.take(2 * time.Second)
		lost := w.c.Losses()
		if n := w.c.recent.n; w.c.flowBytes > 1<<20 || w.c.pendingBytes != 0 || len(lost) != 1 ||
			int(lost[0].Count) != 1000-n {
			t.Errorf("%d bytes of %d flows, %d of pending events, lost %v", w.c.flowBytes, n, w.c.pendingBytes, lost)
		}
	})
}

func TestFlow_ResponseTimes(t *testing.T) {
	times := func(ev *event.Event, maxMicros uint64, histogram ...uint64) *event.Event {
		f := ev.GetFlow()
		for _, c := range []*event.Counters{f.GetSrcCounters(), f.GetDstCounters()} {
			if c != nil && len(histogram) > 0 {
				c.Responses = &event.ResponseTimes{Histogram: histogram, MaxMicros: maxMicros,
					TotalMicros: 2 * maxMicros}
			}
		}
		return ev
	}
	last := func(w *world) *event.Flow {
		out := w.take(2 * time.Second)
		return out[len(out)-1].GetFlow()
	}
	expect := func(what string, got *event.ResponseTimes, maxMicros, total uint64, histogram ...uint64) {
		t.Helper()
		want := &event.ResponseTimes{Histogram: histogram, MaxMicros: maxMicros, TotalMicros: total}
		if !proto.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		w.feed("a", times(client.event(), 90, 1<<8|3, 2<<8|12))
		w.feed("b", times(server.event(), 40, 3<<8|5))
		f := last(w)
		expect("the client's half", f.SrcCounters.GetResponses(), 90, 180, 1<<8|3, 2<<8|12)
		expect("the server's half", f.DstCounters.GetResponses(), 40, 80, 3<<8|5)

		w.feed("a", client.as(later, 20).event()) // the tracer was late to read the histogram
		f = last(w)
		expect("an event without", f.SrcCounters.GetResponses(), 90, 180, 1<<8|3, 2<<8|12)

		s := w.c.Add("a") // another tracer, whose kernel side counts from zero
		for i, ev := range []*event.Event{times(client.as(later, 30).event(), 70, 1<<8|12, 1<<8|20),
			times(client.as(later, 40).event(), 70, 2<<8|12, 1<<8|20)} {
			if err := s.Feed(t.Context(), Batch{Instance: 2, Sequence: uint64(i + 1),
				Events: []*event.Event{ev}}); err != nil {
				t.Fatal(err)
			}
			f = last(w)
		}
		expect("after another tracer", f.SrcCounters.GetResponses(), 90, 320, 1<<8|3, 4<<8|12, 1<<8|20)
	})
}
