package collect

import (
	"context"
	"net/netip"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// BenchmarkMerge feeds halves of both ends of b.N/2 flows from two nodes, as fast as they are taken, and counts what
// comes out. "updates" are of 10,000 flows that stay open, "short" of flows that are over at once.
func BenchmarkMerge(b *testing.B) {
	b.Run("short tcp", func(b *testing.B) { benchmark(b, tcp, func(i int) (int, event.Phase) { return i, closed }) })
	b.Run("short udp", func(b *testing.B) { benchmark(b, udp, func(i int) (int, event.Phase) { return i, closed }) })
	b.Run("updates",
		func(b *testing.B) { benchmark(b, tcp, func(i int) (int, event.Phase) { return i % 10_000, later }) })
}

func benchmark(b *testing.B, proto event.Protocol, of func(i int) (flow int, phase event.Phase)) {
	const size = 256
	addr := [2][]byte{netip.MustParseAddr("10.0.0.1").AsSlice(), netip.MustParseAddr("10.0.1.1").AsSlice()}
	halves := func(first, n int) (out [2][]*event.Event) {
		for i := first; i < first+n; i++ {
			flow, phase := of(i)
			for side, observed := range []event.Side{bySrc, byDst} {
				ev := &event.Event{Time: uint64(i) + 1, Pod: "web", Kind: &event.Event_Flow{Flow: &event.Flow{
					Protocol: proto, Phase: phase, Observed: observed, RoleKnown: true, SocketCookie: uint64(flow) + 1,
					Src:    &event.Endpoint{Address: addr[0], Port: uint32(flow%60_000 + 1)},
					Dst:    &event.Endpoint{Address: addr[1], Port: 80},
					SrcIsn: uint32(flow), DstIsn: ^uint32(flow), IsnValid: proto == tcp, StartTime: uint64(i) + 1,
				}}}
				if observed == bySrc {
					ev.GetFlow().SrcCounters = &event.Counters{BytesSent: uint64(i)}
				} else {
					ev.GetFlow().DstCounters = &event.Counters{BytesSent: uint64(i)}
				}
				out[side] = append(out[side], ev)
			}
		}
		return out
	}
	n := b.N/2 + 1
	var batches [][2][]*event.Event
	for i := 0; i < n; i += size {
		batches = append(batches, halves(i, min(size, n-i)))
	}
	c := New(Options{Namer: cluster})
	sources := [2]*Source{c.Add("a"), c.Add("b")}
	emitted := 0
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		done <- c.Run(context.Background(), func(*event.Event) error { emitted++; return nil })
	}()
	for i, batch := range batches {
		for side, s := range sources {
			err := s.Feed(b.Context(), Batch{Instance: 1, Sequence: uint64(i) + 1, Events: batch[side],
				Watermark: uint64((i + 1) * size)})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	c.Finish()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(2*n)/b.Elapsed().Seconds(), "halves/s")
	b.ReportMetric(float64(emitted)/float64(n), "events/flow")
}
