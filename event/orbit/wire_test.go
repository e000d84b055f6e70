package orbit

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestEncode_IsTheMessage(t *testing.T) {
	events := []*event.Event{{Time: 1, Pod: "a"}, {Time: 2, Pod: "b"}}
	var encoded [][]byte
	for _, ev := range events {
		b, err := proto.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, b)
	}
	wire, err := EncodeBatch(&AgentBatch{Sequence: 7, Watermark: 9, GapSummary: true}, encoded)
	if err != nil {
		t.Fatal(err)
	}
	var batch AgentBatch
	if err := proto.Unmarshal(wire, &batch); err != nil {
		t.Fatal(err)
	}
	if want := (&AgentBatch{Sequence: 7, Watermark: 9, GapSummary: true, Events: events}); !proto.Equal(&batch, want) {
		t.Errorf("got %v, want %v", &batch, want)
	}
	if wire, err = EncodeAnswer(&Answer{Watermark: 9}, encoded); err != nil {
		t.Fatal(err)
	}
	var answer Answer
	if err := proto.Unmarshal(wire, &answer); err != nil {
		t.Fatal(err)
	}
	if want := (&Answer{Watermark: 9, Events: events}); !proto.Equal(&answer, want) {
		t.Errorf("got %v, want %v", &answer, want)
	}
}
