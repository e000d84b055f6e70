package tracer

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	queue = event.LossStage_LOSS_STAGE_QUEUE
	gap   = event.LossStage_LOSS_STAGE_STREAM_GAP
)

func encodedFlow(t testing.TB, cookie uint64) []byte {
	t.Helper()
	return mustMarshal(t, &event.Event{Time: 1, Kind: &event.Event_Flow{Flow: &event.Flow{SocketCookie: cookie}}})
}

func mustMarshal(t testing.TB, ev *event.Event) []byte {
	t.Helper()
	b, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// summary is "cookies; lost" of a batch.
func summary(t testing.TB, wire wireBatch) string {
	t.Helper()
	b := decode(t, wire)
	s := fmt.Sprint(b.GetSequence(), "@", b.GetWatermark(), ":")
	for _, ev := range b.GetEvents() {
		if lost := ev.GetLost(); lost != nil {
			s += fmt.Sprintf(" %s/%s-%d", lost.GetStage(), lost.GetSource(), lost.GetCount())
		} else {
			s += fmt.Sprint(" ", ev.GetFlow().GetSocketCookie())
		}
	}
	if b.GetFinal() {
		s += " final"
	}
	if b.GetGapSummary() {
		s += " for those missing"
	}
	return s
}

func TestOutbox_NumbersBatchesUpToFinal(t *testing.T) {
	losses := newLedger(nil)
	o := newOutbox("node-1", losses, nowNs)
	if o.flush(1, false) {
		t.Error("nothing made a batch")
	}
	if !o.add(1, encodedFlow(t, 1), nil) || o.add(1, encodedFlow(t, 2), nil) {
		t.Error("only the first opens a batch")
	}
	losses.add(where{event.LossStage_LOSS_STAGE_KERNEL_MAP, "flow"}, 3)
	o.flush(10, false)
	o.flush(9, true) // a watermark does not go back
	_, _, changed, final := o.read(3, queue)
	if final {
		t.Error("final too early")
	}
	o.finish(12)
	<-changed
	o.flush(13, true)
	o.finish(14)
	var got []string
	from := uint64(1)
	for {
		wire, next, _, final := o.read(from, queue)
		if wire == nil {
			if !final {
				t.Error("it does not end")
			}
			break
		}
		got = append(got, summary(t, wire))
		from = next
	}
	want := []string{"1@10: 1 2 LOSS_STAGE_KERNEL_MAP/flow-3", "2@10:", "3@12: final"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOutbox_LimitsEventsAndBytesOfBatch(t *testing.T) {
	o := newOutbox("node-1", newLedger(nil), nowNs)
	for i := range uint64(session.MaxBatchEvents + 1) {
		o.add(1, encodedFlow(t, i), nil)
	}
	o.losses.add(where{stage: queue}, 1)
	o.flush(1, false)
	for i := range 30 {
		o.add(1, make([]byte, 0), make([]byte, 20_000)) // not events, but never decoded here
		if len(o.filling) > maxBatchBytes {
			t.Fatalf("%d bytes after %d", len(o.filling), i)
		}
	}
	wire, _, _, _ := o.read(1, queue)
	if n := len(decode(t, wire).GetEvents()); n != session.MaxBatchEvents {
		t.Errorf("%d events", n)
	}
	full := newOutbox("node-1", newLedger(nil), nowNs)
	for i := range uint64(session.MaxBatchEvents) {
		full.add(1, encodedFlow(t, i), nil)
	}
	full.losses.add(where{stage: queue}, 1)
	full.finish(1)
	if full.next != 3 {
		t.Errorf("a full batch and a loss made %d batches", full.next-1)
	}
}

func TestOutbox_SummarizesMissingBatches(t *testing.T) {
	losses := newLedger(nil)
	o := newOutbox("node-1", losses, nowNs)
	o.batches = 20
	for sequence := range uint64(30) {
		for range sequence % 3 {
			o.add(1, encodedFlow(t, sequence), nil)
		}
		if sequence < 4 {
			losses.add(where{event.LossStage_LOSS_STAGE_KERNEL_MAP, "flow"}, 2)
		}
		o.flush(sequence, true)
	}
	// Held: 11 … Missing from 3: sequences 3 … 10, which are 2 … 9 in the loop: 2+0+1+2+0+1+2+0 events, 2 reports of
	// loss.
	wire, next, _, _ := o.read(3, gap)
	if got, want := summary(t, wire),
		"10@9: LOSS_STAGE_KERNEL_MAP/flow-4 LOSS_STAGE_STREAM_GAP/-8 for those missing"; got != want || next != 11 {
		t.Errorf("got %q, then %d; want %q", got, next, want)
	}
	if wire, next, _, _ = o.read(11, gap); next != 12 || decode(t, wire).GetSequence() != 11 {
		t.Errorf("then came %s", summary(t, wire))
	}
	for _, from := range []uint64{0, 32} {
		if o.check(from) == nil {
			t.Errorf("%d may be read", from)
		}
	}
	if err := o.check(31); err != nil {
		t.Errorf("the next cannot be waited for: %v", err)
	}
}

func TestHistory_IsBoundedAndNeverUndercounts(t *testing.T) {
	var h history
	for i := range uint64(historyBatches + 100) {
		c := contents{events: 1}
		if i < 2 {
			c.lost = []delta{{where: where{stage: gap}, count: 1}}
		}
		h.push(batch{watermark: i, contents: c})
	}
	if n := len(h.contents); n != historyBatches {
		t.Errorf("%d batches remembered", n)
	}
	if events, _, lost := h.since(101); events != historyBatches || lost != nil {
		t.Errorf("since the first remembered: %d, %v", events, lost)
	}
	events, _, lost := h.since(1)
	if diff := cmp.Diff([]uint64{historyBatches + 100, 2}, []uint64{events, merge(lost)[0].count}); diff != "" {
		t.Errorf("since the very first (-want +got):\n%s", diff)
	}
	if events, _, _ := h.since(50); events < historyBatches+51 {
		t.Errorf("since a forgotten one: only %d", events)
	}
}

// TestOutbox_AccountsForEveryEvent drives an outbox at random and reads it as a client does that loses its connection
// at random: each event must arrive once or be counted once, and each loss be reported once.
func TestOutbox_AccountsForEveryEvent(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1))
		losses := newLedger(nil)
		o := newOutbox("node-1", losses, nowNs)
		o.batches, o.bytes = 50, 1<<12
		var added, dropped, arrived, counted, reported uint64
		from, stage := uint64(1), queue
		for range 800 {
			for range random.IntN(40) {
				o.add(1, encodedFlow(t, added), make([]byte, 0))
				added++
			}
			if random.IntN(4) == 0 {
				dropped++
				losses.read("flow", []bpf.Loss{{Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Count: dropped}})
			}
			o.flush(1, random.IntN(2) == 0)
			if random.IntN(50) == 0 {
				// A long cut: the ring overflows.
				for range o.batches + 5 {
					o.add(1, encodedFlow(t, added), nil)
					added++
					o.flush(1, true)
				}
				stage = gap
			}
			// A connection: batches arrive in order until it is cut at random. Then the client resumes.
			for cursor := from; random.IntN(8) != 0; {
				wire, after, _, _ := o.read(cursor, stage)
				if wire == nil {
					break
				}
				arrivedNow, countedNow, reportedNow := tallyBatch(t, wire)
				arrived, counted, reported = arrived+arrivedNow, counted+countedNow, reported+reportedNow
				if sequence := decode(t, wire).GetSequence(); sequence != after-1 {
					t.Fatalf("seed %d: batch %d before %d", seed, sequence, after)
				}
				cursor, from = after, after
			}
		}
		o.finish(1)
		for {
			wire, after, _, _ := o.read(from, stage)
			if wire == nil {
				break
			}
			arrivedNow, countedNow, reportedNow := tallyBatch(t, wire)
			arrived, counted, reported = arrived+arrivedNow, counted+countedNow, reported+reportedNow
			from = after
		}
		if arrived+counted != added || reported != dropped {
			t.Errorf("seed %d: %d arrived and %d counted of %d; %d reported of %d", seed, arrived, counted, added,
				reported, dropped)
		}
		if seed == 0 && counted == 0 {
			t.Error("no gap was made")
		}
	}
}

func tallyBatch(t testing.TB, wire wireBatch) (arrived, counted, reported uint64) {
	t.Helper()
	for _, ev := range decode(t, wire).GetEvents() {
		switch lost := ev.GetLost(); {
		case lost == nil:
			arrived++
		case lost.GetStage() == event.LossStage_LOSS_STAGE_KERNEL_BUFFER:
			reported += lost.GetCount()
		default:
			counted += lost.GetCount()
		}
	}
	return arrived, counted, reported
}

func TestWire_FieldNumbersMatchProto(t *testing.T) {
	fields := new(session.Batch).ProtoReflect().Descriptor().Fields()
	want := map[protoreflect.FieldNumber]string{
		batchSequence: "sequence uint64", batchEvents: "events message", batchWatermark: "watermark fixed64",
		batchFinal:      "final bool",
		batchGapSummary: "gap_summary bool",
	}
	got := make(map[protoreflect.FieldNumber]string)
	for i := range fields.Len() {
		f := fields.Get(i)
		got[f.Number()] = fmt.Sprint(f.Name(), " ", f.Kind())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKinds_EveryKindHasProbe(t *testing.T) {
	probes := make(map[string]bool)
	for _, kind := range (Host{}).Kinds() {
		probes[kind] = true
	}
	kinds := new(event.Event).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		name := kinds.Get(i).JSONName()
		if name == "lost" || name == "nodeStatus" { // the tracer's own
			continue
		}
		kind := event.KindByName(name)
		switch {
		case kind == nil:
			t.Errorf("the kind %q of event.proto has no columns: add newKind(%q, …) to event/kind.go", name, name)
		case kind.Row && probes[name]:
			t.Errorf("the kind %q is a row that the viewer makes (newRows in event/kind.go), and a probe of "+
				"tracer/kernel.go reports it: it can be one only", name)
		case !kind.Row && !probes[name]:
			t.Errorf("no probe reports the kind %q: add it to probes in tracer/kernel.go", name)
		}
	}
}

// sentMessage is a stream that keeps the message sent last.
type sentMessage struct {
	grpc.ServerStream
	message any
}

func (s *sentMessage) SendMsg(m any) error {
	s.message = m
	return nil
}

func TestSendBatch_ToAnyClient(t *testing.T) {
	o := newOutbox("node-1", newLedger(nil), nowNs)
	o.add(1, encodedFlow(t, 7), nil)
	o.flush(1, false)
	wire, _, _, _ := o.read(1, 0)
	for _, compressed := range []bool{true, false} {
		stream := &sentMessage{}
		if err := sendBatch(stream, wire, compressed); err != nil {
			t.Fatal(err)
		}
		sent := stream.message.(wireBatch)
		if !compressed {
			var packer session.Packer
			sent = packer.Pack(sent)
		}
		if events := decode(t, sent).GetEvents(); len(events) != 1 || events[0].GetFlow().GetSocketCookie() != 7 {
			t.Errorf("compressed %v: it sends %v", compressed, events)
		}
	}
	if sendBatch(&sentMessage{}, wireBatch("broken"), false) == nil {
		t.Error("a broken batch is sent")
	}
}
