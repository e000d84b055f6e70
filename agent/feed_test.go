package agent

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

// encode encodes a DNS event of a pod.
func encode(t testing.TB, namespace, pod, name string) []byte {
	t.Helper()
	b, err := proto.Marshal(&event.Event{Time: 1, Namespace: namespace, Pod: pod,
		Kind: &event.Event_Dns{Dns: &event.Dns{Name: name}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, encoded []byte) *event.Event {
	t.Helper()
	ev := &event.Event{}
	if err := proto.Unmarshal(encoded, ev); err != nil {
		t.Fatal(err)
	}
	return ev
}

func newTestFeed() *feed {
	return newFeed("node-1", func() uint64 { return 7 }, func([][]byte) {})
}

func TestFeed_ReadersSelect(t *testing.T) {
	f := newTestFeed()
	all, _ := f.open(newSelection(nil), 0, nil)
	shop, _ := f.open(newSelection(&orbit.NodeSelection{Namespaces: []string{"shop"}, Kinds: []string{"dns"}}), 0, nil)
	web, _ := f.open(newSelection(&orbit.NodeSelection{Pods: []string{"web"}, Kinds: []string{"tcp", "dns"}}), 0, nil)
	tcp, _ := f.open(newSelection(&orbit.NodeSelection{Kinds: []string{"tcp"}}), 0, nil)
	f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", "a."), encode(t, "bank", "db", "b.")}, Watermark: 5})
	f.emit(tracer.Batch{Watermark: 6})
	for _, c := range []struct {
		name string
		r    *reader
		want int
	}{{"all", all, 2}, {"a namespace", shop, 1}, {"a pod", web, 1}, {"another kind", tcp, 0}} {
		p, err := c.r.read(t.Context(), 100, nil)
		if err != nil || len(p.events) != c.want || p.watermark != 6 || p.sequence != 2 || p.gap {
			t.Errorf("%s: %d events, watermark %d, sequence %d, gap %v, %v; want %d events", c.name, len(p.events),
				p.watermark, p.sequence, p.gap, err, c.want)
		}
	}
}

func TestFeed_SlowReaderLosesItsEventsOnly(t *testing.T) {
	f := newTestFeed()
	slow, _ := f.open(newSelection(&orbit.NodeSelection{Namespaces: []string{"shop"}}), 0, nil)
	const batches = feedBatches + 100
	for i := range batches {
		f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", fmt.Sprint(i)), encode(t, "bank", "db", "b.")}})
	}
	got, lost := 0, uint64(0)
	for got+int(lost) < batches {
		p, err := slow.read(t.Context(), 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, encoded := range p.events {
			ev := decode(t, encoded)
			if l := ev.GetLost(); l != nil {
				if ev.GetNamespace() != "shop" || ev.GetPod() != "web" || !p.gap {
					t.Errorf("a loss of %s/%s, gap %v", ev.GetNamespace(), ev.GetPod(), p.gap)
				}
				lost += l.GetCount()
				continue
			}
			got++
		}
	}
	if lost != 100 || got+int(lost) != batches {
		t.Errorf("%d delivered, %d lost, want %d and 100", got, lost, batches-100)
	}
}

func TestFeed_ResumesWhereItWasCut(t *testing.T) {
	f := newTestFeed()
	for i := range 10 {
		f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", fmt.Sprint(i))}})
	}
	r, ok := f.open(newSelection(nil), 4, nil)
	if !ok {
		t.Fatal("refused")
	}
	p, err := r.read(t.Context(), 100, nil)
	if err != nil || len(p.events) != 7 || p.gap {
		t.Errorf("%d events, gap %v, %v; want 7", len(p.events), p.gap, err)
	}
	if _, ok := f.open(newSelection(nil), 12, nil); ok {
		t.Error("a batch that does not exist was accepted")
	}
	for range feedBatches {
		f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", "x"), encode(t, "shop", "web", "y")}})
	}
	if r, ok = f.open(newSelection(nil), 4, nil); !ok {
		t.Fatal("refused")
	}
	p, err = r.read(t.Context(), 100, nil)
	if err != nil || len(p.events) == 0 {
		t.Fatal(p, err)
	}
	// 4 to 10 held one event each.
	l := decode(t, p.events[0]).GetLost()
	if l.GetCount() != 7 || l.GetStage() != event.LossStage_LOSS_STAGE_STREAM_GAP {
		t.Errorf("lost %v, want 7 in the gap", l)
	}
}

func TestFeed_ConcurrentReadersGetAll(t *testing.T) {
	f := newTestFeed()
	const readers, batches = 4, 500
	var reading sync.WaitGroup
	for range readers {
		r, _ := f.open(newSelection(nil), 0, nil)
		reading.Go(func() {
			defer r.close()
			for got := 0; got < batches; {
				p, err := r.read(t.Context(), 10, nil)
				if err != nil || p.gap {
					t.Errorf("gap %v, %v", p.gap, err)
					return
				}
				for _, encoded := range p.events {
					if name := decode(t, encoded).GetDns().GetName(); name != fmt.Sprint(got) {
						t.Errorf("got %s, want %d", name, got)
						return
					}
					got++
				}
			}
		})
	}
	for i := range batches {
		f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", fmt.Sprint(i))}})
	}
	reading.Wait()
	if len(f.readers) != 0 {
		t.Errorf("%d readers are left", len(f.readers))
	}
	if events, lost := f.totals(); events != batches || lost != 0 {
		t.Errorf("counted %d events and %d lost, want %d and 0", events, lost, batches)
	}
}

func BenchmarkFeed_Emit(b *testing.B) {
	f := newTestFeed()
	batch := tracer.Batch{}
	for range 250 {
		batch.Events = append(batch.Events, encode(b, "shop", "web", "example.com."))
	}
	b.ReportAllocs()
	for b.Loop() {
		f.emit(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/250, "ns/event")
}

func TestFeed_CountsLossesApart(t *testing.T) {
	f := newTestFeed()
	lost, err := proto.Marshal(&event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Count: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", "a."), lost}, Reports: 1, Lost: 5})
	if events, lost := f.totals(); events != 1 || lost != 5 {
		t.Errorf("%d events, %d lost; want 1 and 5", events, lost)
	}
}

// TestFeed_GathersUntilRipe reads what a reader that gathers gets.
func TestFeed_GathersUntilRipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTestFeed()
		r, _ := f.open(newSelection(nil), 0, nil)
		emit := func(n int) {
			for range n {
				f.emit(tracer.Batch{Events: [][]byte{encode(t, "shop", "web", "a.")}, Watermark: 1})
			}
		}
		for _, c := range []struct {
			name                  string
			before, while, atOnce int
			after                 time.Duration
			want                  int
		}{
			{"what comes meanwhile goes out together", 1, 2, 0, 100 * time.Millisecond, 3},
			{"as many as there may be do not wait", 1, 0, 9, 50 * time.Millisecond, 10},
			{"what comes later goes out at once", 0, 0, 0, 150 * time.Millisecond, 1},
		} {
			emit(c.before)
			began := time.Now()
			go func() {
				time.Sleep(50 * time.Millisecond)
				emit(c.while + c.atOnce)
				if c.want == 1 {
					time.Sleep(100 * time.Millisecond)
					emit(1)
				}
			}()
			p, err := r.read(t.Context(), 10, time.After(100*time.Millisecond))
			if err != nil || len(p.events) != c.want || time.Since(began) != c.after {
				t.Errorf("%s: %d events after %v (%v), want %d after %v", c.name, len(p.events), time.Since(began), err,
					c.want, c.after)
			}
		}
	})
}
