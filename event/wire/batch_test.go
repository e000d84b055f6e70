package wire

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// batchOf is a message with events in field 2, and a number in field 1.
func batchOf(t *testing.T, events ...*event.Event) []byte {
	b := num(1, 7)
	for _, ev := range events {
		b = protowire.AppendBytes(append(b, tagOf(2, protowire.BytesType)...), encode(t, ev))
	}
	return b
}

func TestBatchDecoder_ReusesFlowsOnly(t *testing.T) {
	flow, dns := benchmarked()[0].ev, benchmarked()[1].ev
	for name, d := range map[string]*BatchDecoder{"new memory": {}, "memory for reuse": {Memory: &Memory{}}} {
		t.Run(name, func(t *testing.T) {
			first, other, err := d.Decode(batchOf(t, flow, dns), 2, 2)
			if err != nil || string(other) != string(num(1, 7)) {
				t.Fatalf("%v, %x", err, other)
			}
			memory := first[0].GetFlow()
			second, _, err := d.Decode(batchOf(t, dns, flow), 2, 2)
			if err != nil || !proto.Equal(second[0], dns) || !proto.Equal(second[1], flow) {
				t.Fatalf("%v: %v", err, second)
			}
			if reused := memory == second[1].GetFlow(); reused != (d.Memory != nil) {
				t.Errorf("the memory of a flow is reused: %v", reused)
			}
			if first[1] == second[0] || !proto.Equal(first[1], dns) {
				t.Errorf("the memory of a dns event is reused: %v", first[1])
			}
		})
	}
}

func TestBatchDecoder_BoundsEvents(t *testing.T) {
	d := &BatchDecoder{}
	ev := &event.Event{Time: 1}
	if _, _, err := d.Decode(batchOf(t, ev, ev, ev), 2, 2); !errors.Is(err, ErrTooManyEvents) {
		t.Errorf("three events where two are allowed: %v", err)
	}
	if events, _, err := d.Decode(batchOf(t, ev, ev), 2, 2); err != nil || len(events) != 2 {
		t.Errorf("after that: %d events, %v", len(events), err)
	}
}
