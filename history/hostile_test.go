package history

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// framed returns a recording with one frame of events. Its checksums are valid; its header claims the given number of
// events.
func framed(t *testing.T, about []byte, events uint32, body []byte) []byte {
	t.Helper()
	encoder, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	file := append([]byte(magic), version)
	add := func(kind frameType, events uint32, body []byte) {
		packed := encoder.EncodeAll(body, nil)
		h := head{
			kind: kind, body: uint32(len(packed)), unpacked: uint32(len(body)), events: events, newest: 1 << 62,
			sum: crc32.Checksum(packed, castagnoli),
		}
		file = append(h.append(file), packed...)
	}
	add(frameSession, 0, about)
	add(frameEvents, events, body)
	add(frameEnd, 0, []byte("{}"))
	return file
}

// TestHostileRecording_IsBounded reads frames of a few KiB that decompress to a thousand times their size.
func TestHostileRecording_IsBounded(t *testing.T) {
	about, err := json.Marshal(session)
	if err != nil {
		t.Fatal(err)
	}
	histogram := make([]byte, maxUnpacked-32)
	for i := range histogram {
		histogram[i] = 1
	}
	// SyscallSummary.histogram, 8 bytes in memory for one in the file.
	long := binary.AppendUvarint([]byte{11<<3 | 2}, uint64(len(histogram)))
	long = append(long, histogram...)
	long = append(binary.AppendUvarint([]byte{24<<3&0x7f | 2 | 0x80, 1}, uint64(len(long))), long...)
	long = append(binary.AppendUvarint(nil, uint64(len(long))), long...)
	for name, test := range map[string]struct {
		file    []byte
		want    string // part of the damage, of the refusal or of the error
		events  uint64 // most refused events
		opening bool   // NewReader returns the error
	}{
		"more events than declared": {framed(t, about, 3, make([]byte, maxUnpacked)),
			"more events than its head declares", 3, false},
		"more events than allowed": {framed(t, about, maxUnpacked, make([]byte, maxUnpacked)), "8388608 events", 0,
			false},
		"a long event": {framed(t, about, 1, long), "an event of 8388587 bytes, limit 524288", 1, false},
		"a long session": {
			framed(t, []byte(`{"kinds":[`+strings.Repeat(`"",`, maxSession)+`""]}`), 0, nil),
			"the head of a frame is damaged", 0, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var damages []string
			r, err := NewReader(bytes.NewReader(test.file))
			if err == nil {
				r.Damaged = func(e *DamageError) { damages = append(damages, e.Error()) }
				for err == nil {
					err = r.Next(new(event.Event))
				}
				n, reason := r.Refused()
				if n > test.events {
					t.Errorf("%d refused, want %d at most", n, test.events)
				}
				if reason != nil {
					damages = append(damages, reason.Error())
				}
				r.Close()
			} else if !test.opening {
				t.Fatal(err)
			}
			if err != io.EOF {
				damages = append(damages, err.Error())
			}
			runtime.ReadMemStats(&after)
			if got := strings.Join(damages, "\n"); !strings.Contains(got, test.want) || len(got) > 1000 {
				t.Errorf("%.1000s\nwant %q", got, test.want)
			}
			n := after.TotalAlloc - before.TotalAlloc
			if n > 48<<20 {
				t.Errorf("%d bytes of file take %d", len(test.file), n)
			}
			t.Logf("%d bytes of file take %d", len(test.file), n)
		})
	}
}
