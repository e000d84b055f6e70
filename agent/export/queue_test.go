package export

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

func TestQueue_DropsTheOldest(t *testing.T) {
	q := &queue{limit: 4096}
	const events = 2000
	dropped := 0
	for i := range events {
		dropped += q.push(fmt.Appendf(nil, "event %d", i))
		if q.bytes > q.limit {
			t.Fatalf("%d bytes, of %d", q.bytes, q.limit)
		}
	}
	next := dropped
	for c := q.pop(); c != nil; c = q.pop() {
		for ev, end := c.peek(); ev != nil; ev, end = c.peek() {
			if string(ev) != fmt.Sprintf("event %d", next) {
				t.Fatalf("%s, want %d", ev, next)
			}
			next++
			c.skip(end)
		}
		q.release(c)
	}
	if dropped == 0 || next != events || q.bytes != 0 {
		t.Errorf("%d dropped, %d in all, %d bytes", dropped, next, q.bytes)
	}
}

func TestQueue_TakesWhatIsLargerThanAChunk(t *testing.T) {
	q := &queue{limit: exportconfig.MinQueue}
	large := bytes.Repeat([]byte("x"), chunkBytes+1)
	for range 20 {
		q.push(large)
		q.push([]byte("y"))
	}
	if q.bytes > q.limit {
		t.Errorf("%d bytes, of %d", q.bytes, q.limit)
	}
	if ev, _ := q.pop().peek(); len(ev) != len(large) && string(ev) != "y" {
		t.Errorf("%d bytes", len(ev))
	}
}

func TestHeld_KeepsTheNewestState(t *testing.T) {
	h := newHeld(1 << 20)
	for i := range 10 {
		for key := range uint64(3) {
			h.put(key, fmt.Appendf(nil, "%d:%d", key, i), time.Duration(i))
		}
	}
	h.drop(1)
	h.drop(1)
	if ev := h.due(-1); ev != nil {
		t.Errorf("%s is due before its time", ev)
	}
	for _, want := range []string{"0:9", "2:9", ""} {
		if got := string(h.due(0)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if h.bytes != 0 || len(h.by) != 0 || h.oldest != nil || h.newest != nil {
		t.Errorf("%+v is left", h)
	}
}

func TestHeld_IsBounded(t *testing.T) {
	e := New(Options{})
	e.Apply(newConfig(t, "a:1", func(c *Config) {
		c.QueueBytes, c.BatchBytes = exportconfig.MinQueue, exportconfig.MinBatch
	}))
	const flows = 5000
	for i := range flows {
		e.Observe([][]byte{flow(t, event.Phase_PHASE_UPDATE, i, 1)})
	}
	s := e.Status()
	if e.held.bytes > e.held.limit || s.Queued+s.Held != flows || s.Queued == 0 {
		t.Errorf("%d bytes, of %d: %+v", e.held.bytes, e.held.limit, s)
	}
}

func TestHeld_Keys(t *testing.T) {
	h := newHeld(1 << 20)
	key := func(ev *event.Event) (uint64, bool) {
		kind, message := kindField(encoded(t, ev))
		key, ended, ok := h.keyOf(kind, message)
		if !ok {
			t.Errorf("no key for %v", ev)
		}
		return key, ended
	}
	of := func(change func(*event.Flow)) uint64 {
		f := &event.Flow{Protocol: event.Protocol_PROTOCOL_UDP, Phase: event.Phase_PHASE_UPDATE, SocketCookie: 1,
			Observed: event.Side_SIDE_SRC, StartTime: 5, Src: &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 1},
			Dst: &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 2}}
		change(f)
		key, _ := key(&event.Event{Kind: &event.Event_Flow{Flow: f}})
		return key
	}
	same := of(func(*event.Flow) {})
	for name, c := range map[string]struct {
		change func(*event.Flow)
		same   bool
	}{
		"other counters":    {func(f *event.Flow) { f.SrcCounters = &event.Counters{BytesSent: 9} }, true},
		"a later packet":    {func(f *event.Flow) { f.LastTime = 7 }, true},
		"another process":   {func(f *event.Flow) { f.Src.Pid, f.Src.Comm = 7, "x" }, true},
		"another socket":    {func(f *event.Flow) { f.SocketCookie = 2 }, false},
		"another peer":      {func(f *event.Flow) { f.Dst.Address = []byte{10, 0, 0, 3} }, false},
		"another port":      {func(f *event.Flow) { f.Dst.Port = 3 }, false},
		"a later start":     {func(f *event.Flow) { f.StartTime = 6 }, false},
		"the other end":     {func(f *event.Flow) { f.Observed = event.Side_SIDE_DST }, false},
		"another protocol":  {func(f *event.Flow) { f.Protocol = event.Protocol_PROTOCOL_ICMP }, false},
		"swapped addresses": {func(f *event.Flow) { f.Src, f.Dst = f.Dst, f.Src }, false},
	} {
		if got := of(c.change) == same; got != c.same {
			t.Errorf("%s: same %v, want %v", name, got, c.same)
		}
	}
	// Kinds with an id.
	a, _ := key(&event.Event{Kind: &event.Event_Drop{Drop: &event.Drop{Id: "a", Packets: 1}}})
	b, _ := key(&event.Event{Kind: &event.Event_Drop{Drop: &event.Drop{Id: "a", Packets: 2}}})
	c, _ := key(&event.Event{Kind: &event.Event_Resources{Resources: &event.Resources{Id: "a"}}})
	if a != b || a == c {
		t.Errorf("keys %d, %d, %d", a, b, c)
	}
	if _, ended := key(&event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{
		Phase: event.Phase_PHASE_CLOSED}}}); !ended {
		t.Error("a closed flow is held")
	}
	if kind, message := kindField(dns(t, 1)); func() bool { _, _, ok := h.keyOf(kind, message); return ok }() {
		t.Error("a query is held")
	}
}
