package orbit

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
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

func TestDecodeBatch_IsTheMessage(t *testing.T) {
	want := &AgentBatch{Sequence: 7, Watermark: 9, GapSummary: true, Hello: &AgentHello{Node: "a"},
		Events: []*event.Event{{Time: 1, Pod: "a"}, {}, {Time: 2, Pod: "b"}}}
	wire, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, events, err := DecodeBatch(wire)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoded := range events {
		var ev event.Event
		if err := proto.Unmarshal(encoded, &ev); err != nil {
			t.Fatal(err)
		}
		got.Events = append(got.Events, &ev)
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, _, err := DecodeBatch(bytes.Repeat([]byte{byte(batchEvents)<<3 | 2, 0}, MaxBatchEvents+1)); err == nil {
		t.Error("too many events are accepted")
	}
}

func TestAnswerCodec_AsProtoDoes(t *testing.T) {
	c := NewAnswerCodec()
	decode := func(b []byte, v any) error {
		return c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(bytes.Clone(b))}, v)
	}
	answer, err := proto.Marshal(&Answer{Watermark: 9, Coverage: &Coverage{AllNamespaces: true},
		Events: []*event.Event{{Time: 1, Pod: "a"}, {}, {Time: 2, Pod: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"an answer":               answer,
		"no event":                {},
		"two answers in one":      slices.Concat(answer, answer),
		"events that are numbers": slices.Concat(answer, []byte{byte(answerEvents) << 3, 1}),
		"half an answer":          answer[:len(answer)-1],
		"an event of no text":     {byte(answerEvents)<<3 | 2, 3, 2<<3 | 2, 1, 0xff},
		"a head of no message":    protowire.AppendVarint(nil, 1<<33),
	} {
		got, want := &Answer{Watermark: 1}, &Answer{}
		wantErr := proto.Unmarshal(b, want)
		err := decode(b, got)
		if (err != nil) != (wantErr != nil) || err == nil && !proto.Equal(got, want) {
			t.Errorf("%s: %v, by proto %v\n%v\n%v", name, err, wantErr, got, want)
		}
	}
	nodes := &NodesAnswer{}
	if err := decode(answer, nodes); err != nil || len(nodes.ProtoReflect().GetUnknown()) == 0 {
		t.Errorf("another message: %v, %v", err, nodes)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add([]byte{0x1a, 2, 9, 9, 0x10, 7})
	f.Fuzz(func(t *testing.T, wire []byte) {
		head, events, err := DecodeBatch(wire)
		if err != nil {
			return
		}
		encoded, err := EncodeBatch(head, events)
		if err != nil {
			t.Fatal(err)
		}
		head2, events2, err := DecodeBatch(encoded)
		if err != nil || !proto.Equal(head, head2) || !slices.EqualFunc(events, events2, bytes.Equal) {
			t.Errorf("%v %d events, then %v %d events: %v", head, len(events), head2, len(events2), err)
		}
	})
}
