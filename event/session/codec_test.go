package session

import (
	"errors"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func encoded(t testing.TB, events int) []byte {
	t.Helper()
	b := &Batch{Sequence: 7, Watermark: 9}
	for range events {
		b.Events = append(b.Events, &event.Event{Node: "n", Kind: &event.Event_Flow{Flow: &event.Flow{
			Src:         &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 1, Pod: "web"},
			Dst:         &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 2},
			SrcCounters: &event.Counters{BytesSent: 1 << 30, BytesReceived: 1 << 20},
		}}})
	}
	wire, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func TestCodec_BoundsBatches(t *testing.T) {
	for _, test := range []struct {
		name    string
		wire    []byte
		refused bool
	}{
		{"empty", nil, false},
		{"the largest", encoded(t, MaxBatchEvents), false},
		{"one event more", encoded(t, MaxBatchEvents+1), true},
		{"no message", []byte{0x12, 0x7f}, true},
		{"a tag without a value", []byte{0x08}, true},
	} {
		c := NewCodec()
		got := &Batch{}
		err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(test.wire)}, got)
		if (err != nil) != test.refused || (c.Refused() != nil) != test.refused {
			t.Errorf("%s: %v, refused %v", test.name, err, c.Refused())
		}
		want := &Batch{}
		if !test.refused && (proto.Unmarshal(test.wire, want) != nil || !proto.Equal(got, want)) {
			t.Errorf("%s: it is decoded to another one", test.name)
		}
		if test.refused && len(got.Events) > 0 {
			t.Errorf("%s: it is decoded", test.name)
		}
	}
	if e := (*BatchError)(nil); !errors.As(error(CheckBatch(encoded(t, MaxBatchEvents+1))), &e) {
		t.Error("no BatchError")
	}
}

func TestCodec_DecodesOtherMessages(t *testing.T) {
	wire, err := proto.Marshal(&TracerMessage{Message: &TracerMessage_Welcome{Welcome: &Welcome{Node: "n"}}})
	if err != nil {
		t.Fatal(err)
	}
	got := &TracerMessage{}
	if err := NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, got); err != nil ||
		got.GetWelcome().GetNode() != "n" {
		t.Errorf("%v, %v", got, err)
	}
}

func BenchmarkCodec(b *testing.B) {
	wire := encoded(b, MaxBatchEvents)
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if err := CheckBatch(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_ = proto.Unmarshal(wire, &Batch{})
		}
	})
}
