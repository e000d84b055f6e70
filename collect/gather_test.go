package collect

import (
	"fmt"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestGather_ManySources has so many nodes that Run gathers batches.
func TestGather_ManySources(t *testing.T) {
	const nodes = 200
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		for second := range 3 {
			for node := range nodes {
				s := client
				s.dst, s.sent = "1.1.1.1:443", uint64(second)
				s.isn, s.cookie = [2]uint32{uint32(node), 1 << 20}, uint64(node)+1
				w.feed(fmt.Sprint("node-", node), s.event())
				time.Sleep(time.Second / nodes)
			}
		}
		last, got := uint64(0), w.take(time.Second)
		for _, ev := range got {
			if ev.GetTime() < last {
				t.Fatalf("out of order: %v", ev)
			}
			last = ev.GetTime()
		}
		if len(got) != 3*nodes {
			t.Errorf("%d events, want %d", len(got), 3*nodes)
		}
	})
}

// TestOrder_OfAClockAhead has a node whose clock is an hour ahead among others that send all the time.
func TestOrder_OfAClockAhead(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		ahead := 0
		for i := range 100 {
			s := client
			s.dst, s.sent = "1.1.1.1:443", uint64(i)
			s.isn, s.cookie, s.ago = [2]uint32{1, 2}, 1, -time.Hour
			w.feed("ahead", s.event())
			s.isn, s.cookie, s.ago = [2]uint32{3, 4}, 2, 0
			w.feed("right", s.event())
			for _, ev := range w.take(100 * time.Millisecond) {
				if ev.GetTime() > uint64(time.Now().UnixNano()) {
					ahead++
				}
			}
		}
		if ahead < 90 {
			t.Errorf("%d of 100 events of the node with the wrong clock came in 10 s", ahead)
		}
	})
}

// TestOrder_SlowNodesHoldUpNobody has nodes whose new flows come seconds late, and wait for their second halves.
func TestOrder_SlowNodesHoldUpNobody(t *testing.T) {
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		came, late := 0, 0
		for i := range uint32(200) {
			for slow := range uint32(2) {
				s := client
				s.isn, s.cookie, s.phase = [2]uint32{i + 10, 1<<20 + slow}, uint64(i)*2+uint64(slow)+10, fresh
				s.ago = time.Duration(slow+3) * time.Second
				b := Batch{Instance: 1, Sequence: uint64(i) + 1, Events: []*event.Event{s.event()},
					Watermark: uint64(time.Now().Add(-s.ago).UnixNano())}
				if err := w.c.Add(fmt.Sprint("slow-", slow)).Feed(t.Context(), b); err != nil {
					t.Fatal(err)
				}
			}
			s := client
			s.dst, s.sent, s.isn, s.cookie = "1.1.1.1:443", uint64(i), [2]uint32{1, 2}, 1
			w.feed("right", s.event())
			w.feed("right too")
			w.feed("and right")
			for _, ev := range w.take(50 * time.Millisecond) {
				if ev.GetNode() != "right" {
					continue
				}
				if came++; time.Since(time.Unix(0, int64(ev.GetTime()))) > 400*time.Millisecond {
					late++
				}
			}
		}
		if came < 20 || late > 0 {
			t.Errorf("%d events of a node without fault came in 10 s, %d of them late", came, late)
		}
	})
}

// TestJoin_NodeThatLagsIsNotAwaited has a node among many whose events come three seconds late. A new flow is shown
// without that node's half, and an ended one with it.
func TestJoin_NodeThatLagsIsNotAwaited(t *testing.T) {
	const late = 3 * time.Second
	inWorld(t, Options{Namer: onNodeB{cluster}}, func(w *world) {
		others := func() {
			for node := range gatherFrom {
				w.feed(fmt.Sprint("node-", node))
			}
		}
		w.feed("b")
		time.Sleep(late)
		others()
		w.take(time.Second) // the median is read meanwhile
		others()
		w.feed("node-0", client.event())
		w.want(100*time.Millisecond, "new client+->server 10")

		short := client.as(closed, 20)
		short.isn, short.cookie = [2]uint32{77, 78}, 79
		w.feed("node-0", short.event())
		others()
		w.want(time.Second)
		other := server.as(closed, 20)
		other.isn, other.cookie, other.ago = [2]uint32{77, 78}, 80, time.Second
		w.feed("b", other.event())
		w.want(time.Second, "closed client+->server+ 20")
	})
}
