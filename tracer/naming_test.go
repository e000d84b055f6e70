package tracer

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
	"google.golang.org/protobuf/proto"
)

// fakeNamer returns the identities that a test sets.
type fakeNamer struct {
	status  map[uint64]pods.Status
	gaveUp  []uint64
	unnamed *pods.Identity
	named   *pods.Identity
}

func newFakeNamer(t testing.TB) *fakeNamer {
	wire := func(container string) []byte {
		b, err := proto.Marshal(&event.Event{Node: "node-1", Namespace: "demo", Pod: "web", PodUid: podUID,
			Container: container})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return &fakeNamer{
		status:  make(map[uint64]pods.Status),
		unnamed: &pods.Identity{Pod: "web", Wire: wire("")},
		named:   &pods.Identity{Pod: "web", Container: "app", Wire: wire("app")},
	}
}

func (f *fakeNamer) Identify(cgroup uint64) (*pods.Identity, pods.Status) {
	switch s := f.status[cgroup]; s {
	case pods.Named:
		return f.named, s
	case pods.Unnamed:
		return f.unnamed, s
	default:
		return nil, s
	}
}

func (f *fakeNamer) GiveUp(cgroup uint64) { f.gaveUp = append(f.gaveUp, cgroup) }

// namingFixture is a naming with an outbox whose one batch the test reads.
type namingFixture struct {
	*testing.T
	*naming
	*fakeNamer
	out    *outbox // hides that of naming
	emit   Sink
	opened int
	next   uint64 // batch to read
}

func newNamingFixture(t *testing.T) *namingFixture {
	f := &namingFixture{T: t, fakeNamer: newFakeNamer(t), next: 1}
	losses := newLedger(nil)
	f.out = newOutbox("node-1", losses, func() uint64 { return 5 })
	f.naming = newNaming("node-1", f.fakeNamer, f.out, losses, func() { f.opened++ })
	f.emit = f.sink("flow")
	return f
}

func (f *namingFixture) flow(cgroup, cookie uint64) {
	f.emit(cgroup, &event.Event{Time: cookie, Kind: &event.Event_Flow{Flow: &event.Flow{SocketCookie: cookie}}})
}

// sent seals and reads what was sent on and returns the cookies, those without a container negative, and the losses.
func (f *namingFixture) sent() (cookies []int, lost uint64) {
	f.Helper()
	f.out.flush(0, true)
	for f.next < f.out.next {
		wire, next, _, _ := f.out.read(f.next, 0)
		f.next = next
		for _, ev := range decode(f.T, wire).GetEvents() {
			switch {
			case ev.GetLost() != nil:
				lost += ev.GetLost().GetCount()
			case ev.GetPod() != "web" || ev.GetNode() != "node-1":
				f.Errorf("sent without pod: %v", ev)
			case ev.GetContainer() == "app":
				cookies = append(cookies, int(ev.GetFlow().GetSocketCookie()))
			default:
				cookies = append(cookies, -int(ev.GetFlow().GetSocketCookie()))
			}
		}
	}
	return cookies, lost
}

func decode(t testing.TB, wire wireBatch) *session.Batch {
	t.Helper()
	b := new(session.Batch)
	encoded, err := session.Unpack(wire)
	if err == nil {
		err = proto.Unmarshal(encoded, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f *namingFixture) expect(cookies []int, lost uint64) {
	f.Helper()
	got, gotLost := f.sent()
	if diff := cmp.Diff(cookies, got); diff != "" || lost != gotLost {
		f.Errorf("lost %d, want %d; sent (-want +got):\n%s", gotLost, lost, diff)
	}
}

func TestNaming_SendsNamedDropsForeign(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1], f.status[2] = pods.Named, pods.Foreign
	f.flow(1, 10)
	f.flow(2, 11)
	f.flow(1, 12)
	f.expect([]int{10, 12}, 0)
	if f.opened != 1 {
		t.Errorf("%d batches opened", f.opened)
	}
}

func TestNaming_UnnamedEventsWaitInOrder(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1], f.status[2] = pods.Unnamed, pods.Unnamed
	f.flow(1, 10)
	f.flow(2, 11)
	f.flow(1, 12)
	if oldest := f.sweep(time.Now(), false); oldest != 10 {
		t.Errorf("the oldest is of time %d", oldest)
	}
	f.expect(nil, 0)
	f.status[1] = pods.Named
	f.flow(1, 13) // earlier events of its cgroup go first
	f.expect([]int{10, 12, 13}, 0)
	if oldest := f.sweep(time.Now(), false); oldest != 11 {
		t.Errorf("the oldest is of time %d", oldest)
	}
	f.status[2] = pods.Foreign // its container is no target
	if oldest := f.sweep(time.Now(), false); oldest != math.MaxUint64 {
		t.Errorf("the oldest is of time %d", oldest)
	}
	f.expect(nil, 0)
}

func TestNaming_TimeoutSendsUnnamed(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1] = pods.Unnamed
	f.flow(1, 10)
	f.flow(2, 11) // of an unknown cgroup
	f.sweep(time.Now().Add(nameTimeout-time.Second), false)
	f.expect(nil, 0)
	f.sweep(time.Now().Add(nameTimeout), false)
	f.expect([]int{-10}, 1)
	if !slices.Equal(f.gaveUp, []uint64{1}) {
		t.Errorf("gave up on %v", f.gaveUp)
	}
}

func TestNaming_EndSendsWaitingEvents(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1] = pods.Unnamed
	f.flow(1, 10)
	f.sweep(time.Now(), true)
	f.expect([]int{-10}, 0)
}

// A container without a name fills the table: it loses its own oldest events, and no others.
func TestNaming_FloodTakesFromItsOwnShare(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1], f.status[2] = pods.Unnamed, pods.Unnamed
	began := time.Now() // on a busy machine the flood lasts for longer than events wait
	f.flow(2, 2)
	f.flow(3, 3) // of an unknown cgroup
	large := &event.Event{Time: 9, Kind: &event.Event_Exec{Exec: &event.Exec{Args: []byte(strings.Repeat("x", 4000))}}}
	const flood = 3 * waitingBytes / 4000
	for range flood {
		f.emit(1, large)
	}
	if f.bytes.Used() > waitingBytes || f.bytes.Used() < waitingBytes-8000 {
		t.Errorf("%d bytes are charged of %d", f.bytes.Used(), waitingBytes)
	}
	if len(f.waiting) > 2*f.live+spareWaiters+1 {
		t.Errorf("the queue has %d places for %d events", len(f.waiting), f.live)
	}
	if f.of[2] != 1 || f.of[3] != 1 || f.of[1] != f.live-2 {
		t.Errorf("%v wait of %d", f.of, f.live)
	}
	evicted := uint64(flood - f.of[1])
	for _, l := range f.losses.news() {
		evicted -= l
	}
	if evicted != 0 {
		t.Errorf("%d evictions are not counted", evicted)
	}
	f.status[1], f.status[2] = pods.Named, pods.Named
	f.sweep(began, false)
	if f.live != 1 || len(f.waiting) != 1 || len(f.of) != 1 {
		t.Errorf("%d wait, %v", f.live, f.of)
	}
}

func TestNaming_CountsInvalidUTF8(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1] = pods.Named
	f.emit(1, &event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{Src: &event.Endpoint{Comm: "\xff"}}}})
	f.expect(nil, 1)
}

func TestSink_AllocatesOnlyForBatches(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1] = pods.Named
	ev := &event.Event{Time: 1, Kind: &event.Event_Flow{Flow: sampleFlow(1)}}
	// In the long run: a batch holds 1,024 events and is one allocation, and the ring is bounded.
	if n := testing.AllocsPerRun(20_000, func() { f.emit(1, ev) }); n > 0.02 {
		t.Errorf("%v allocations an event", n)
	}
}

func BenchmarkSink(b *testing.B) {
	losses := newLedger(nil)
	out := newOutbox("node-1", losses, nowNs)
	r := pods.New("node-1")
	if err := r.Observe(pods.Cgroup{ID: 1, Path: "/kubepods/pod" + podUID + "/" + containerID},
		time.Now()); err != nil {
		b.Fatal(err)
	}
	if err := r.Apply(demoPods(), time.Now()); err != nil {
		b.Fatal(err)
	}
	sink := newNaming("node-1", r, out, losses, func() {}).sink("flow")
	// Fields that differ between flows and do not compress are random.
	random := rand.New(rand.NewPCG(1, 2))
	events := make([]*event.Event, 4096)
	for i := range events {
		flow := sampleFlow(random.Uint64N(1 << 20))
		flow.Src.Port, flow.SrcIsn, flow.DstIsn = random.Uint32N(1<<16), random.Uint32(), random.Uint32()
		flow.Dst.Address[3], flow.SrcCounters.BytesSent = byte(random.Uint32()), random.Uint64N(1<<24)
		flow.LastTime = nowNs() - random.Uint64N(1e9)
		events[i] = &event.Event{Time: nowNs() + uint64(i)*1000, Kind: &event.Event_Flow{Flow: flow}}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		sink(1, events[n%len(events)])
		n++
	}
	if last := len(out.held) - 1; last >= 0 {
		wire, _, _, _ := out.read(out.next-1, 0)
		encoded, err := session.Unpack(wire)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(encoded))/float64(out.held[last].events), "B/event")
		b.ReportMetric(float64(len(out.held[last].packed))/float64(out.held[last].events), "packed-B/event")
	}
}

func TestSink_ManySourcesShareOneOutbox(t *testing.T) {
	f := newNamingFixture(t)
	f.status[1] = pods.Named
	f.naming.opened = func() {}
	var sources sync.WaitGroup
	for i := range uint64(4) {
		sink := f.sink("flow")
		sources.Go(func() {
			for n := range uint64(1000) {
				sink(1, &event.Event{Time: 1, Kind: &event.Event_Flow{Flow: &event.Flow{SocketCookie: i*1000 + n}}})
			}
		})
	}
	sources.Wait()
	f.out.finish(0)
	seen := make(map[uint64]bool)
	for from := uint64(1); from < f.out.next; {
		wire, next, _, _ := f.out.read(from, 0)
		for _, ev := range decode(t, wire).GetEvents() {
			seen[ev.GetFlow().GetSocketCookie()] = true
		}
		from = next
	}
	if len(seen) != 4000 {
		t.Errorf("%d events came", len(seen))
	}
}

func TestNaming_NodeEventsGetNoPod(t *testing.T) {
	f := newNamingFixture(t)
	f.emit(pods.NodeLevel, &event.Event{Time: 3, Kind: &event.Event_Gpu{Gpu: &event.Gpu{Message: "x"}}})
	f.out.flush(0, true)
	wire, _, _, _ := f.out.read(f.next, 0)
	events := decode(t, wire).GetEvents()
	if len(events) != 1 || events[0].GetNode() != "node-1" || events[0].GetPod() != "" || events[0].GetTime() != 3 ||
		events[0].GetGpu().GetMessage() != "x" {
		t.Errorf("got %v", events)
	}
}
