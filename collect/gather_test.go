package collect

import (
	"fmt"
	"testing"
	"time"
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
