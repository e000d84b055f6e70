package collect

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// conversation is a flow that the property test lets happen, with what its ends will report.
type conversation struct {
	name       string
	ends       [2]*shape // nil: not observed
	nodes      [2]string
	lives      time.Duration
	began      time.Duration
	sent, recv uint64
}

// script is an event that a node sends at a time after the start.
type script struct {
	at   time.Duration
	node string
	make func() *event.Event
}

// TestJoin_AnyInterleavingIsExact runs random conversations between pods on three nodes, with and without Services and
// SNAT. Halves lag, repeat, arrive in any order between nodes, or are not observed. Each flow must be emitted once
// with exact sums.
func TestJoin_AnyInterleavingIsExact(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 8))
			inWorld(t, Options{Namer: cluster}, func(w *world) { interleave(t, w, r, feedAll) })
		})
	}
}

// TestPlay_IsExact plays the same conversations as recordings.
func TestPlay_IsExact(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 8))
			inWorld(t, Options{}, func(w *world) { interleave(t, w, r, playAll) })
		})
	}
}

// interleave makes random conversations, and checks what comes out of them.
func interleave(
	t *testing.T, w *world, r *rand.Rand,
	pass func(*testing.T, *world, *rand.Rand, time.Time, []script) []*event.Event,
) {
	const flows = 60
	nodes := []string{"a", "b", "c"}
	lag := map[string]time.Duration{}
	for _, n := range nodes {
		lag[n] = upTo(r, 150*time.Millisecond)
	}
	start := time.Now()
	var all []*conversation
	var scripts []script
	for i := range flows {
		c := random(r, i, nodes)
		all = append(all, c)
		for side, s := range c.ends {
			if s == nil {
				continue
			}
			began := start.Add(c.began)
			s.start = began
			report := func(after time.Duration, phase event.Phase, sent, recv uint64) {
				at, half := c.began+after, *s
				half.phase = phase
				half.sent, half.recv = sent, recv
				if side == dst {
					half.sent, half.recv = recv, sent
				}
				scripts = append(scripts, script{at + lag[c.nodes[side]], c.nodes[side], func() *event.Event {
					half.ago = time.Since(start) - at
					return half.event()
				}})
			}
			if c.lives > 0 {
				report(0, fresh, 0, 0)
			}
			phase := upTo(r, time.Second)
			for after := phase; after < c.lives; after += time.Second {
				part := float64(after) / float64(c.lives)
				report(after, later, uint64(part*float64(c.sent)), uint64(part*float64(c.recv)))
			}
			report(c.lives+upTo(r, 50*time.Millisecond), closed, c.sent, c.recv)
		}
	}
	slices.SortStableFunc(scripts, func(a, b script) int { return int(a.at - b.at) })
	out := pass(t, w, r, start, scripts)

	type seen struct {
		phases []event.Phase
		last   *event.Flow
		node   string
	}
	got := map[string]*seen{}
	for _, ev := range out {
		f := ev.GetFlow()
		if f == nil {
			t.Fatalf("%v is no flow", ev)
		}
		s := got[f.GetId()]
		if s == nil {
			s = &seen{}
			got[f.GetId()] = s
		}
		s.phases = append(s.phases, f.GetPhase())
		s.last, s.node = f, ev.GetNode()
	}
	if len(got) != flows {
		t.Errorf("%d flows came out of %d", len(got), flows)
	}
	byName := map[string]*seen{}
	for id, s := range got {
		for i, p := range s.phases {
			want := later
			switch i {
			case len(s.phases) - 1:
				want = closed
			case 0:
				want = fresh
			}
			if p != want {
				t.Fatalf("flow %s has the phases %v", id, s.phases)
			}
		}
		e := s.last.GetSrc()
		if s.last.GetSrcCounters() == nil {
			e = s.last.GetDst()
		}
		byName[fmt.Sprint(e.GetPort(), s.last.GetProtocol())] = s
	}
	for _, c := range all {
		s := byName[c.name]
		if s == nil {
			t.Errorf("%s did not come out", c.name)
			continue
		}
		for side, n := range [2]*event.Counters{s.last.GetSrcCounters(), s.last.GetDstCounters()} {
			if (n != nil) != (c.ends[side] != nil) {
				t.Errorf("%s: end %d observed: %v, want %v", c.name, side, n != nil, c.ends[side] != nil)
				continue
			}
			if n == nil {
				continue
			}
			sent, recv := n.BytesSent, n.BytesReceived
			if side == dst {
				sent, recv = recv, sent
			}
			if sent != c.sent || recv != c.recv {
				t.Errorf("%s: end %d counts %d and %d, want %d and %d", c.name, side, sent, recv, c.sent, c.recv)
			}
		}
		// One event an interval and end, and the first and the last.
		if most := 2*int(c.lives/time.Second) + 4; len(s.phases) > most {
			t.Errorf("%s: %d events in %v", c.name, len(s.phases), c.lives)
		}
	}
}

// feedAll feeds events as nodes send them.
func feedAll(t *testing.T, w *world, r *rand.Rand, start time.Time, scripts []script) []*event.Event {
	var last *Batch
	for _, s := range scripts {
		time.Sleep(time.Until(start.Add(s.at)))
		w.sequence[s.node]++
		b := Batch{Instance: 1, Sequence: w.sequence[s.node], Events: []*event.Event{s.make()}}
		b.Watermark = b.Events[0].Time
		src := w.c.Add(s.node)
		if err := src.Feed(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		reuse(b.Events)
		if last = &b; r.IntN(10) == 0 { // a resumed stream repeats its last batch
			if err := src.Feed(t.Context(), *last); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(10 * time.Second)
	w.c.Finish()
	synctest.Wait()
	return w.take(0)
}

// playAll plays events as a recording.
func playAll(t *testing.T, _ *world, _ *rand.Rand, start time.Time, scripts []script) (out []*event.Event) {
	type played struct {
		node string
		ev   *event.Event
	}
	var recording []played
	for _, s := range scripts {
		time.Sleep(time.Until(start.Add(s.at)))
		recording = append(recording, played{s.node, s.make()})
	}
	slices.SortStableFunc(recording, func(a, b played) int { return cmp.Compare(a.ev.GetTime(), b.ev.GetTime()) })
	c := New(Options{Namer: cluster, Recorded: true})
	emit := func(ev *event.Event) error {
		out = append(out, proto.CloneOf(ev))
		return nil
	}
	for _, p := range recording {
		if err := c.Play(c.Add(p.node), p.ev, p.ev.GetTime(), emit); err != nil {
			t.Fatal(err)
		}
		reuse([]*event.Event{p.ev})
	}
	if err := c.FinishPlay(emit); err != nil {
		t.Fatal(err)
	}
	return out
}

// random makes the i-th conversation: its client's port is its name, unless only the server is observed.
func random(r *rand.Rand, i int, nodes []string) *conversation {
	c := &conversation{
		began: upTo(r, 2*time.Second), sent: r.Uint64N(1 << 40), recv: r.Uint64N(1 << 40),
		nodes: [2]string{nodes[r.IntN(3)], nodes[r.IntN(3)]},
	}
	if r.IntN(3) > 0 {
		c.lives = upTo(r, 5*time.Second)
	}
	port := uint16(20000 + i)
	client := shape{
		pod: "client", observed: bySrc, src: fmt.Sprintf("10.0.0.1:%d", port), dst: "10.0.1.1:8080", proto: tcp,
		isn: [2]uint32{r.Uint32(), r.Uint32()}, cookie: uint64(2*i + 1),
	}
	if r.IntN(2) == 0 {
		client.proto, client.dst = udp, "10.0.1.1:5353"
	}
	server := client
	server.pod, server.observed, server.cookie = "server", byDst, client.cookie+1
	if r.IntN(2) == 0 { // through a Service
		client.dst = map[event.Protocol]string{tcp: "10.96.0.1:80", udp: "10.96.0.1:53"}[client.proto]
		if r.IntN(2) == 0 { // and masqueraded
			server.src = fmt.Sprintf("172.18.0.2:%d", port)
			if client.proto == tcp {
				server.src = fmt.Sprintf("172.18.0.2:%d", 1024+r.IntN(1000))
			}
		}
	}
	c.ends = [2]*shape{&client, &server}
	c.name = fmt.Sprint(port, client.proto)
	client.unsure = r.IntN(8) == 0
	if r.IntN(4) == 0 {
		c.ends[dst] = nil
		client.dst = fmt.Sprintf("1.1.1.1:%d", 443)
	}
	return c
}

func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
