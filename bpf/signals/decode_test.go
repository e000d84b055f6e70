package signals

import (
	"bytes"
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// record encodes what the program would report.
func record(tb testing.TB, s objectSignalEvent) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, s); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func newTestDecoder(tb testing.TB) *decoder {
	tb.Helper()
	clock, err := bpf.NewClock()
	if err != nil {
		tb.Fatal(err)
	}
	return newDecoder(clock)
}

func TestDecode_RefusesWhatNoProgramWrites(t *testing.T) {
	d := newTestDecoder(t)
	for name, raw := range map[string][]byte{
		"empty":      nil,
		"short":      record(t, objectSignalEvent{Origin: 1})[:40],
		"no origin":  record(t, objectSignalEvent{}),
		"new origin": record(t, objectSignalEvent{Origin: 4}),
		"new result": record(t, objectSignalEvent{Origin: 1, Result: 5}),
	} {
		if _, ev, err := d.decode(raw); err == nil {
			t.Errorf("%s: %v", name, ev)
		}
	}
}

func TestDecode_ForgetsTheLastSender(t *testing.T) {
	d := newTestDecoder(t)
	sent := record(t, objectSignalEvent{
		Origin: 1, Number: 34, HasCode: 1, SenderPid: 7, SenderComm: [16]int8{'s', 'h'}, Comm: [16]int8{'x'},
	})
	if _, ev, err := d.decode(sent); err != nil || ev.GetSignal().GetSignal() != "SIGRTMIN" ||
		string(ev.GetSignal().GetSenderComm()) != "sh" {
		t.Errorf("%v, %v", ev, err)
	}
	_, ev, err := d.decode(record(t, objectSignalEvent{Origin: 2, Number: 9, Cgroup: 5}))
	if s := ev.GetSignal(); err != nil || s.SenderUid != nil || s.SenderComm != nil || s.Code != nil {
		t.Errorf("%v, %v", ev, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(record(f, objectSignalEvent{Origin: 1, Number: 15}))
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
	raw := record(b, objectSignalEvent{Origin: 1, Number: 15, HasCode: 1, SenderPid: 7})
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
