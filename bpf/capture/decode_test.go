package capture

import (
	"bytes"
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	probe "github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// record encodes what the programs would report.
func record(tb testing.TB, p objectPacketEvent, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, p); err != nil {
		tb.Fatal(err)
	}
	return append(b.Bytes(), data...)
}

func newTestDecoder(tb testing.TB) *decoder {
	tb.Helper()
	clock, err := probe.NewClock()
	if err != nil {
		tb.Fatal(err)
	}
	return newDecoder(clock)
}

func TestDecode_RefusesWhatNoProgramWrites(t *testing.T) {
	d := newTestDecoder(t)
	data := make([]byte, 128)
	for name, raw := range map[string][]byte{
		"empty":             nil,
		"short":             record(t, objectPacketEvent{Direction: 1}, nil)[:40],
		"no direction":      record(t, objectPacketEvent{Length: 1, Captured: 1}, data),
		"new direction":     record(t, objectPacketEvent{Length: 1, Captured: 1, Direction: 3}, data),
		"more than there":   record(t, objectPacketEvent{Length: 200, Captured: 129, Direction: 1}, data),
		"more than its own": record(t, objectPacketEvent{Length: 60, Captured: 61, Direction: 1}, data),
		"too long": record(t, objectPacketEvent{Length: 1 << 18, Captured: 1 << 17, Direction: 1},
			make([]byte, 1<<17)),
	} {
		if _, ev, err := d.decode(raw); err == nil {
			t.Errorf("%s: %v", name, ev)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(record(f, objectPacketEvent{Length: 40, Captured: 40, Direction: 1}, make([]byte, 128)))
	f.Add([]byte{1, 2, 3})
	d := newTestDecoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ev, err := d.decode(b); err == nil {
			if _, err := proto.Marshal(ev); err != nil {
				t.Error(err)
			}
			event.AppendJSON(nil, ev)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	d := newTestDecoder(b)
	raw := record(b, objectPacketEvent{Length: 200, Captured: 200, Direction: 1}, make([]byte, 256))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
