package wire

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
)

// TestMemory_FlowsAreReused decodes batches of all kinds of events into one memory. What is no flow is kept.
func TestMemory_FlowsAreReused(t *testing.T) {
	var d Decoder
	var m Memory
	type kept struct{ got, want *event.Event }
	var all []kept
	events := eventtest.Events(allKinds(), time.Unix(1764000000, 0))
	for range 3 {
		m.Reset()
		flows := 0
		for flows < 2*maxReused {
			for _, want := range events {
				got, err := d.DecodeReusing(encode(t, want), &m)
				if err != nil || !proto.Equal(got, want) {
					t.Fatalf("got %v, %v; want %v", got, err, want)
				}
				if want.GetFlow() == nil {
					all = append(all, kept{got, want})
				} else {
					flows++
				}
			}
		}
		if len(m.events) > maxReused || len(m.flows) > maxReused {
			t.Errorf("%d flows are held in %d and %d places", flows, len(m.events), len(m.flows))
		}
	}
	for _, k := range all {
		if !proto.Equal(k.got, k.want) {
			t.Errorf("an event has become %v, it was %v", k.got, k.want)
		}
	}
}

func TestMemory_RefusedEventsTakeNoPlace(t *testing.T) {
	var d Decoder
	var m Memory
	flow := encode(t, &event.Event{Time: 1, Kind: &event.Event_Flow{Flow: &event.Flow{SrcIsn: 7}}})
	bad := append(append([]byte{}, flow...), 0xff)
	for range 2 * maxReused {
		if ev, err := d.DecodeReusing(bad, &m); err == nil {
			t.Fatalf("decoded %v", ev)
		}
	}
	first, err := d.DecodeReusing(flow, &m)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.DecodeReusing(flow, &m)
	if err != nil || first == second || first.GetFlow() == second.GetFlow() {
		t.Errorf("two flows share memory: %v", err)
	}
}

func TestMemory_Allocations(t *testing.T) {
	var d Decoder
	var m Memory
	encoded := encode(t, benchmarked()[0].ev)
	decode := func() {
		m.Reset()
		for range maxReused {
			if _, err := d.DecodeReusing(encoded, &m); err != nil {
				t.Fatal(err)
			}
		}
	}
	decode()
	if n := testing.AllocsPerRun(10, decode); n > 0 {
		t.Errorf("%v allocations for %d flows", n, maxReused)
	}
}

// TestMemory_ShrinksAfterLargeBatches keeps the memory of a large batch for one more, then that of small ones.
func TestMemory_ShrinksAfterLargeBatches(t *testing.T) {
	const large = 4 * maxReused
	var d Decoder
	m := Memory{Limit: large}
	encoded := encode(t, benchmarked()[0].ev)
	for _, batch := range []struct{ flows, held int }{
		{large + 10, large}, {large, large}, {1, large}, {1, maxReused}, {maxReused, maxReused},
	} {
		m.Reset()
		for range batch.flows {
			if _, err := d.DecodeReusing(encoded, &m); err != nil {
				t.Fatal(err)
			}
		}
		if len(m.events) != batch.held || len(m.flows) != batch.held {
			t.Errorf("after %d flows memory for %d and %d is held, want %d", batch.flows, len(m.events), len(m.flows),
				batch.held)
		}
	}
}
