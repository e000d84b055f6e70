package session

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
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
		{"an event that is no message", []byte{eventsField<<3 | 2, 1, 0x80}, true},
	} {
		c := NewCodec()
		got := &Batch{}
		err := unmarshal(c, test.wire, got)
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
	if e := (*BatchError)(nil); !errors.As(unmarshal(NewCodec(), encoded(t, MaxBatchEvents+1), &Batch{}), &e) {
		t.Error("no BatchError")
	}
}

func unmarshal(c *Codec, encoded []byte, v any) error {
	return c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(encoded)}, v)
}

// TestCodec_AsProtoDoes decodes batches that differ from those of tracers.
func TestCodec_AsProtoDoes(t *testing.T) {
	c := NewCodec()
	for name, wire := range map[string][]byte{
		"events and head in turn": join(encoded(t, 3), encoded(t, 0), encoded(t, 2)),
		"unknown fields":          join(encoded(t, 1), []byte{15<<3 | 2, 1, 'x'}, encoded(t, 1)),
		"a group":                 join(encoded(t, 1), []byte{2<<3 | 3, 1 << 3, 1, 2<<3 | 4}),
		"events that are numbers": join(encoded(t, 1), []byte{2 << 3, 1}),
		"an empty event":          {2<<3 | 2, 0},
		"an event of no message":  {2<<3 | 2, 1, 0x80},
		"an event of no text":     {2<<3 | 2, 3, 2<<3 | 2, 1, 0xff},
		"a head of no message":    protowire.AppendVarint(nil, 1<<33),
	} {
		got, want := &Batch{Sequence: 1}, &Batch{}
		wantErr := proto.Unmarshal(wire, want)
		err := unmarshal(c, bytes.Clone(wire), got)
		if (err != nil) != (wantErr != nil) || err == nil && !proto.Equal(got, want) {
			t.Errorf("%s: %v, by proto %v\n%v\n%v", name, err, wantErr, got, want)
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestCodec_DecodesOtherMessages(t *testing.T) {
	wire, err := proto.Marshal(&TracerMessage{Message: &TracerMessage_Welcome{Welcome: &Welcome{Node: "n"}}})
	if err != nil {
		t.Fatal(err)
	}
	got := &TracerMessage{}
	if err := unmarshal(NewCodec(), wire, got); err != nil ||
		got.GetWelcome().GetNode() != "n" {
		t.Errorf("%v, %v", got, err)
	}
}

func BenchmarkCodec(b *testing.B) {
	wire := encoded(b, MaxBatchEvents)
	b.Run("codec", func(b *testing.B) {
		c := NewCodec()
		b.ReportAllocs()
		for b.Loop() {
			if err := unmarshal(c, wire, &Batch{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = proto.Unmarshal(wire, &Batch{})
		}
	})
}
