package diff

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
)

// FuzzCompare compares recordings of mutated events: values are amounts, a recording does not differ from itself, and
// both directions agree.
func FuzzCompare(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 8 {
		in := make([]byte, 800)
		for j := range in {
			in[j] = byte(r.Uint32())
		}
		f.Add(in[:400], in[400:])
	}
	f.Fuzz(func(t *testing.T, x, y []byte) {
		profile := func(in []byte) *Profile {
			p := NewProfile(Kinds, Period{})
			for _, ev := range eventtest.Events(in, began) {
				p.Add(ev)
			}
			return p
		}
		if rows := rowsOf(t, profile(x), profile(x), true); len(rows) > 0 {
			t.Errorf("differs from itself: %q", lines(rows))
		}
		there, back := rowsOf(t, profile(x), profile(y), true), rowsOf(t, profile(y), profile(x), true)
		for _, ev := range there {
			d := ev.GetDifference()
			for _, v := range []float64{d.GetBefore(), d.GetAfter(), d.GetDeviation()} {
				if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
					t.Errorf("a value of %v: %v", v, ev)
				}
			}
			if d.GetChange() == 0 || d.GetCertainty() == 0 || d.GetTopic() == 0 || d.GetMeasure().Word() == "" ||
				d.GetUnit() == 0 {
				t.Errorf("incomplete: %v", ev)
			}
			for _, c := range event.KindOf(ev).Columns {
				c.AppendCell(nil, ev, &event.View{})
			}
		}
		if got, want := lines(mirrored(back)), lines(there); !slices.Equal(got, want) {
			t.Errorf("there\n%q\nback\n%q", want, got)
		}
		for _, p := range []*Profile{profile(x), profile(y)} {
			p.Notes("before")
		}
	})
}

// BenchmarkProfile takes a million events of 100,000 flows between 200 workloads.
func BenchmarkProfile(b *testing.B) {
	const flows, updates = 100_000, 10
	events := make([]*event.Event, flows)
	for i := range events {
		f := &event.Flow{Id: fmt.Sprintf("%016x", i), Protocol: event.Protocol_PROTOCOL_TCP, Src: web(),
			Dst: service(fmt.Sprint("s", i%200), 80), SrcCounters: &event.Counters{}}
		events[i] = &event.Event{Node: "n1", Kind: &event.Event_Flow{Flow: f}}
	}
	b.ReportAllocs()
	for b.Loop() {
		p := NewProfile(Kinds, Period{})
		for u := range updates {
			for _, ev := range events {
				f := ev.GetFlow()
				ev.Time = uint64(began.Add(time.Duration(u) * time.Second).UnixNano())
				f.StartTime, f.SrcCounters.BytesSent, f.Phase = ev.Time, uint64(u)*1000, event.Phase_PHASE_UPDATE
				switch u {
				case 0:
					f.Phase = event.Phase_PHASE_NEW
				case updates - 1:
					f.Phase = event.Phase_PHASE_CLOSED
				}
				p.Add(ev)
			}
		}
		if p.leftOut > 0 || p.Events() != flows*updates {
			b.Fatalf("%d events left out", p.leftOut)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows/updates, "ns/event")
}
