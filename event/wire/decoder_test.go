package wire

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
)

// reusing is a decoder of one stream, with its memory.
type reusing struct {
	Decoder
	m Memory
}

// compare fails unless d and package proto agree on what b is.
func compare(t *testing.T, d *reusing, b []byte) {
	t.Helper()
	want := &event.Event{}
	wantErr := proto.Unmarshal(b, want)
	input := bytes.Clone(b)
	got, err := d.Decode(input)
	into := &event.Event{Node: "before", Kind: &event.Event_Lost{Lost: &event.Lost{Count: 1}}}
	into.ProtoReflect().SetUnknown(num(300, 1))
	intoErr := d.DecodeInto(into, input)
	d.m.Reset()
	reused, reusedErr := d.DecodeReusing(input, &d.m)
	if (err == nil) != (wantErr == nil) || (intoErr == nil) != (wantErr == nil) || (reusedErr == nil) != (err == nil) {
		t.Fatalf("proto: %v, Decode: %v, DecodeInto: %v, DecodeReusing: %v\n%x", wantErr, err, intoErr, reusedErr, b)
	}
	clear(input) // nothing that was decoded is part of it
	if wantErr == nil && (!proto.Equal(want, got) || !proto.Equal(want, into) || !proto.Equal(want, reused)) {
		t.Fatalf("%x:\nproto:      %v\nDecode:     %v\nDecodeInto: %v\nDecodeReusing: %v", b, want, got, into, reused)
	}
}

func TestDecoder_AsProtoDoes(t *testing.T) {
	var warm reusing
	for name, b := range oddities {
		t.Run(name, func(t *testing.T) {
			compare(t, &reusing{}, b)
			compare(t, &warm, b)
		})
	}
	for i, ev := range eventtest.Events(allKinds(), time.Unix(1764000000, 0)) {
		b := encode(t, ev)
		compare(t, &warm, b)
		for n := range len(b) {
			if i < len(event.Kinds()) { // one of each kind, cut anywhere
				compare(t, &warm, b[:n])
			}
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, b := range oddities {
		f.Add(b)
	}
	for _, ev := range eventtest.Events(allKinds(), time.Unix(1764000000, 0)) {
		f.Add(encode(f, ev))
	}
	var warm reusing // of all inputs: what it keeps must not change what is decoded
	f.Fuzz(func(t *testing.T, b []byte) { compare(t, &warm, b) })
}

func encode(t testing.TB, ev *event.Event) []byte {
	b, err := Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
