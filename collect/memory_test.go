package collect

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// fakeMemory allows limit bytes. Its fields are guarded by the Collector's lock.
type fakeMemory struct{ limit, held, most int }

func (m *fakeMemory) Hold(bytes int) bool {
	m.held, m.most = bytes, max(m.most, bytes)
	return bytes <= m.limit
}

// manyFlows returns n halves of separate flows, from the i-th on.
func manyFlows(i, n int, phase event.Phase) (all []*event.Event) {
	for i := range uint32(n) + uint32(i) {
		s := client
		s.dst, s.isn, s.cookie, s.phase = "1.1.1.1:443", [2]uint32{i, i + 1<<20}, uint64(i)+1, phase
		all = append(all, s.event())
	}
	return all[i:]
}

func TestMemory_ShedsAndCounts(t *testing.T) {
	const batch, batches = 100, 40
	const batchBytes = batch * 2500 // more than a batch takes
	memory := &fakeMemory{limit: 1 << 20}
	inWorld(t, Options{Namer: cluster, Memory: memory.Hold}, func(w *world) {
		for i := range batches {
			w.feed("a", manyFlows(i*batch, batch, fresh)...)
		}
		flows, lost := 0, uint64(0)
		for _, ev := range w.take(5 * time.Second) {
			if l := ev.GetLost(); l != nil {
				if l.GetSource() != sharedMemory {
					t.Errorf("lost by %q", l.GetSource())
				}
				lost += l.GetCount()
			} else {
				flows++
			}
		}
		// Each flow comes out once; those that were evicted are counted.
		if flows != batch*batches || lost == 0 || lost >= batch*batches {
			t.Errorf("%d flows, %d evicted", flows, lost)
		}
		if memory.held > memory.limit || memory.most > memory.limit+batchBytes {
			t.Errorf("holds %d and held %d bytes, of %d", memory.held, memory.most, memory.limit)
		}
		// Once there is memory, flows are kept.
		memory.limit = 1 << 30
		w.feed("a", manyFlows(batch*batches, 10, fresh)...)
		w.take(time.Second)
		w.feed("a", manyFlows(batch*batches, 10, closed)...)
		if got := w.take(5 * time.Second); len(got) != 10 || got[0].GetFlow().GetPhase() != closed {
			t.Errorf("%d events of 10 closed flows: %v", len(got), got)
		}
	})
}

func TestMemory_GoesOnWithoutAny(t *testing.T) {
	memory := &fakeMemory{}
	inWorld(t, Options{Namer: cluster, Memory: memory.Hold}, func(w *world) {
		for i := range 20 {
			w.feed("a", manyFlows(i*100, 100, fresh)...)
		}
		flows := 0
		for _, ev := range w.take(5 * time.Second) {
			if ev.GetFlow() != nil {
				flows++
			}
		}
		if held := w.c.heldBytes(); flows != 2000 || held > memoryStep {
			t.Errorf("%d flows came out, %d bytes are held", flows, held)
		}
	})
}

// What is accounted of open flows is about what they take: neither may a server exceed its limit, nor give flows up
// for which it has room.
func TestMemory_IsThatOfTheHeap(t *testing.T) {
	const flows = 20_000
	for _, proto := range []event.Protocol{event.Protocol_PROTOCOL_TCP, event.Protocol_PROTOCOL_UDP} {
		t.Run(proto.Word(), func(t *testing.T) {
			heap := func() int {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return int(m.HeapAlloc)
			}
			before := heap()
			c := New(Options{Namer: cluster, MaxPending: 1 << 20})
			source := c.Add("a")
			for i := range flows {
				s := client
				s.src, s.proto, s.phase = fmt.Sprintf("10.0.1.9:%d", i+1), proto, fresh
				s.isn, s.cookie = [2]uint32{uint32(i), uint32(i) + 1<<20}, uint64(i)+1
				if err := source.Feed(t.Context(), Batch{Events: []*event.Event{s.event()}}); err != nil {
					t.Fatal(err)
				}
			}
			took, accounted := heap()-before, c.heldBytes()
			if took > accounted || took < accounted/2 {
				t.Errorf("a flow takes %d bytes, of which %d are accounted", took/flows, accounted/flows)
			}
			t.Logf("a flow takes %d bytes, accounted are %d", took/flows, accounted/flows)
			runtime.KeepAlive(c)
		})
	}
}
