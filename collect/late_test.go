package collect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// lossesOf are the losses of a Collector, a line each.
func lossesOf(c *Collector) string {
	var lines []string
	for _, l := range c.Losses() {
		lines = append(lines, fmt.Sprintf("%s %s %q %d", l.Node, l.Stage.Word(), l.Source, l.Count))
	}
	return strings.Join(lines, "; ")
}

func TestLate_AnotherSocketOfTheSamePorts(t *testing.T) {
	const client, server = "10.0.0.1:5000", "10.0.1.1:6000"
	second := shape{
		pod: "server", proto: udp, observed: bySrc, src: server, dst: client, cookie: 8, phase: closed, sent: 7,
	}
	answer := second
	answer.observed, answer.src, answer.dst = byDst, client, server
	unsure := answer
	unsure.unsure = true
	for name, c := range map[string]struct {
		half   shape
		kernel string // of the second node; the first's is k
		second string // how it is shown
		joins  bool   // where the first flow waits for its other half
		lost   string // where it does not
	}{
		"other direction":                {second, "other", "closed server+->client 7", false, ""},
		"same direction, same clock":     {answer, "k", "closed client->server+ 0", false, ""},
		"same direction, other clock":    {answer, "other", "", true, `b merge "late half or flow" 1`},
		"unknown direction, other clock": {unsure, "other", "", true, `b merge "late half or flow" 1`},
		"unknown direction, same clock":  {unsure, "k", "closed client->server+ 0", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{Namer: names{pods: map[string]string{"10.0.0.1": "client"}}}, func(w *world) {
				want := "closed client+->10.0.1.1 5"
				if c.second != "" {
					want += "; " + c.second
				}
				secondFlow(w, c.kernel, c.half, want, c.lost)
			})
		})
		t.Run(name+", first waits", func(t *testing.T) {
			inWorld(t, Options{Namer: cluster}, func(w *world) {
				want := "closed client+->server 5"
				if c.joins {
					want = "closed client+->server+ 5"
				} else {
					want += "; " + c.second
				}
				secondFlow(w, c.kernel, c.half, want, "")
			})
		})
	}
}

// secondFlow lets a client's flow end and another begin 150 ms later, which node b reports.
func secondFlow(w *world, kernel string, half shape, want, lost string) {
	feed := func(node, kernel string, events ...*event.Event) {
		w.t.Helper()
		w.sequence[node]++
		b := Batch{
			Instance: 1, Sequence: w.sequence[node], Events: events, Kernel: kernel,
			Watermark: uint64(time.Now().UnixNano()),
		}
		if err := w.c.Add(node).Feed(w.t.Context(), b); err != nil {
			w.t.Fatal(err)
		}
	}
	first := shape{
		pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000", cookie: 1,
		phase: closed,
		sent:  5, start: time.Now(),
	}
	feed("b", kernel)
	feed("a", "k", first.event())
	time.Sleep(150 * time.Millisecond)
	half.start = time.Now()
	feed("b", kernel, half.event())
	var got []string
	for _, ev := range w.take(20 * time.Second) {
		if ev.GetFlow() != nil {
			got = append(got, summarize(ev))
		}
	}
	if all := strings.Join(got, "; "); all != want {
		w.t.Errorf("got %s, want %s", all, want)
	}
	if all := lossesOf(w.c); all != lost {
		w.t.Errorf("lost %s, want %s", all, lost)
	}
}

func TestLate_OpenFlowWithTheSamePorts(t *testing.T) {
	inWorld(t, Options{Namer: names{pods: map[string]string{"10.0.0.1": "client"}}}, func(w *world) {
		first := shape{
			pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000", cookie: 1,
			phase: closed,
			sent:  5, start: time.Now(),
		}
		w.feed("a", first.event())
		w.want(150*time.Millisecond, "closed client+->10.0.1.1 5")
		second := first
		second.cookie, second.start, second.phase, second.sent = 2, time.Now(), fresh, 7
		w.feed("a", second.event())
		w.want(20*time.Millisecond, "new client+->10.0.1.1 7")
		answer := second
		answer.pod, answer.observed, answer.cookie, answer.sent, answer.recv = "server", byDst, 3, 1, 7
		w.feed("b", answer.event())
		w.want(2*time.Second, "update client+->server+ 7")
	})
}

func TestTombstones_MemoryIsBounded(t *testing.T) {
	const bytes = 1 << 20
	for _, linger := range []time.Duration{time.Second, openMemory} {
		tombstones := newTombstones(bytes)
		now := time.Unix(1000, 0)
		for i := range 100_000 {
			now = now.Add(time.Microsecond)
			addTombstone(&tombstones, isnTombstone{newISNPair(uint32(i), uint32(i%10))}, tombstone{}, now, linger)
			// The same flow each time.
			addTombstone(&tombstones, isnTombstone{newISNPair(1, 2)}, tombstone{}, now, linger)
		}
		entries := 0
		for i := range tombstones.queues {
			entries += len(tombstones.queues[i].entries)
		}
		if most := bytes / tombstoneBytes; entries > most || len(tombstones.byHash) > most {
			t.Errorf("%d hashes, %d of them current, in %d bytes: want at most %d", entries, len(tombstones.byHash),
				bytes, most)
		}
		if !hasTombstone(&tombstones, isnTombstone{newISNPair(1, 2)}, 0) ||
			!hasTombstone(&tombstones, isnTombstone{newISNPair(99_999, 9)}, 0) {
			t.Error("the newest is forgotten")
		}
		old := uint64(time.Unix(1000, 0).UnixNano())
		if !tombstones.mayRepeat(old, now) || tombstones.mayRepeat(uint64(now.UnixNano()), now) ||
			tombstones.mayRepeat(old, now.Add(2*linger)) {
			t.Error("mayRepeat is not limited to halves that began before the newest evicted flow was closed")
		}
	}
}

func TestEvictedTombstone_LateHalfIsCounted(t *testing.T) {
	inWorld(t, Options{Namer: names{}, MaxClosedBytes: 1}, func(w *world) {
		s := shape{pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", cookie: 1, phase: closed, sent: 5}
		for i := range 3 {
			s.dst, s.start, s.cookie = fmt.Sprintf("10.0.1.1:%d", 6000+i), time.Now(), uint64(i)
			w.feed("a", s.event())
			w.take(time.Second)
		}
		late := s
		late.pod, late.observed, late.dst, late.start = "server", byDst, "10.0.1.1:6000", time.Now().Add(-3*time.Second)
		w.feed("b", late.event())
		w.want(10*time.Second, "lost b merge 1", "closed 10.0.0.1->server+ 0")
		if got, want := lossesOf(w.c), `b merge "shown, perhaps twice" 1`; got != want {
			t.Errorf("lost %s, want %s", got, want)
		}
	})
}

// rebind is the i-th socket of a client that binds one port again and again, which talks to one socket of a server.
func rebind(i int) shape {
	return shape{
		pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000", cookie: uint64(i) + 10,
		phase: closed, sent: 1, start: time.Now(),
	}
}

func TestReboundPort_PartsAreBounded(t *testing.T) {
	const sockets = 1000
	inWorld(t, Options{Namer: cluster}, func(w *world) {
		server := rebind(0)
		server.pod, server.observed, server.cookie, server.phase = "server", byDst, 1, fresh
		w.feed("b", server.event())
		for i := range sockets {
			w.feed("a", rebind(i).event())
			time.Sleep(time.Millisecond)
		}
		w.take(time.Second)
		w.c.mu.Lock()
		most := 0
		for _, p := range w.c.index.parts {
			for side := range p.flow.ends {
				most = max(most, len(p.flow.ends[side].parts))
			}
		}
		w.c.mu.Unlock()
		if most > foldParts {
			t.Errorf("an end has %d parts, want %d at most", most, foldParts)
		}
		server.phase, server.recv = closed, sockets
		w.feed("b", server.event())
		got := w.take(10 * time.Second)
		last := got[len(got)-1].GetFlow()
		if n := last.GetSrcCounters().GetBytesSent(); n != sockets ||
			last.GetDstCounters().GetBytesReceived() != sockets {
			t.Errorf("the last event counts %v and %v, want %d", last.GetSrcCounters(), last.GetDstCounters(), sockets)
		}
	})
}

// BenchmarkReboundPort is of a client that binds one UDP port again for each datagram.
func BenchmarkReboundPort(b *testing.B) {
	for _, sockets := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(sockets), func(b *testing.B) {
			for b.Loop() {
				c := New(Options{Namer: cluster})
				server := rebind(0)
				server.pod, server.observed, server.cookie, server.phase = "server", byDst, 1, fresh
				events := []*event.Event{server.event()}
				for i := range sockets {
					events = append(events, rebind(i).event())
				}
				s := c.Add("a")
				if err := s.Feed(b.Context(), Batch{Instance: 1, Sequence: 1, Events: events,
					Watermark: 1}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sockets), "ns/socket")
		})
	}
}
