package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var session = Session{Version: "v1", Kinds: []string{"flow", "dns"}, Targets: "pods", Namespace: "shop",
	Started: time.Unix(1_700_000_000, 0).UTC()}

// example returns the i-th example event; its time is i milliseconds after the first.
func example(i int) *event.Event {
	ev := &event.Event{Time: 1_700_000_000_000_000_000 + uint64(i)*1_000_000, Node: "n1", Namespace: "shop",
		Pod: fmt.Sprint("web-", i%7)}
	switch i % 10 {
	case 0:
		ev.Kind = &event.Event_Lost{Lost: &event.Lost{Count: uint64(i)}}
	default:
		ev.Kind = &event.Event_Dns{Dns: &event.Dns{Name: fmt.Sprintf("n%d.example.", i), Type: "A",
			Src: &event.Endpoint{Address: []byte{10, 0, 0, byte(i)}}}}
	}
	return ev
}

// memory is a file with room for a number of bytes; 0 means no limit.
type memory struct {
	bytes.Buffer
	room   int
	closed int
}

func (m *memory) Write(b []byte) (int, error) {
	if m.room > 0 && m.Len()+len(b) > m.room {
		n, _ := m.Buffer.Write(b[:m.room-m.Len()])
		return n, syscall.ENOSPC
	}
	return m.Buffer.Write(b)
}

func (m *memory) Truncate(size int64) error { m.Buffer.Truncate(int(size)); return nil }
func (m *memory) Close() error              { m.closed++; return nil }

// recorded returns a recording of n events with at most per events in a frame.
func recorded(tb testing.TB, n, per int) []byte {
	tb.Helper()
	var m memory
	w, err := newWriter(&m, session)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		if err := w.Write(example(i)); err != nil {
			tb.Fatal(err)
		}
		if i%per == per-1 {
			w.mu.Lock()
			w.flush()
			w.mu.Unlock()
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if m.closed != 1 {
		tb.Errorf("the file is closed %d times", m.closed)
	}
	return m.Bytes()
}

// replay reads a recording to its end and checks that the events are examples in their order. Events of skipped frames
// may be missing.
func replay(tb testing.TB, b []byte) (n int, damaged []*DamageError, err error) {
	tb.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	defer r.Close()
	r.Damaged = func(e *DamageError) { damaged = append(damaged, e) }
	var ev event.Event
	last := -1
	for {
		if err := r.Next(&ev); err != nil {
			return n, damaged, err
		}
		i := int(ev.GetTime()-example(0).GetTime()) / 1_000_000
		if i <= last || !proto.Equal(&ev, example(i)) {
			tb.Fatalf("event %d after %d is %v", i, last, &ev)
		}
		last = i
		n++
	}
}

// TestReader_ReusesMemoryOfFlows compares NextReusing with Next on events of two kinds, of which each has other fields.
func TestReader_ReusesMemoryOfFlows(t *testing.T) {
	var m memory
	w, err := newWriter(&m, session)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		ev := example(i)
		if i%3 == 0 {
			f := &event.Flow{Id: fmt.Sprint("f", i), Src: &event.Endpoint{Pod: "web"}}
			if i%2 == 0 {
				f.Dst = &event.Endpoint{Address: []byte{10, 0, 0, byte(i)}}
				f.DstCounters = &event.Counters{BytesSent: 1}
			}
			ev.Kind = &event.Event_Flow{Flow: f}
		}
		if err := w.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var readers [2]*Reader
	for i := range readers {
		if readers[i], err = NewReader(bytes.NewReader(m.Bytes())); err != nil {
			t.Fatal(err)
		}
		defer readers[i].Close()
	}
	for i := range n {
		want := new(event.Event)
		got, err := readers[1].NextReusing()
		if err := errors.Join(err, readers[0].Next(want)); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Fatalf("event %d is %v, want %v", i, got, want)
		}
	}
	if _, err := readers[1].NextReusing(); err != io.EOF {
		t.Errorf("after the last event: %v", err)
	}
}

func TestRecording_IsReplayed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.orb8")
	w, err := Create(path, session)
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000 // several frames
	for i := range n {
		if err := w.Write(example(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want a file that only its owner may read", info.Mode(), err)
	}
	if events, size := w.Written(); events != n*9/10 || size < 1000 {
		t.Errorf("%d events in %d bytes", events, size)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, damaged, err := replay(t, b); got != n || len(damaged) > 0 || err != io.EOF {
		t.Errorf("%d of %d events, %v, %v", got, n, damaged, err)
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(session, r.Session); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// An existing recording is not overwritten.
	if _, err := Create(path, session); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second recording to the same file: %v", err)
	}
	if _, err := Create(filepath.Join(path, "x"), session); err == nil {
		t.Error("a recording in a file that is no directory")
	}
}

func TestWriter_FlushesWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.orb8")
		w, err := Create(path, session)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := w.Write(example(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := replay(t, b); n != 1 || err != io.ErrUnexpectedEOF {
			t.Errorf("%d events in the file, want 1: %v", n, err)
		}
	})
}

func TestCutRecording_IsReadableUpToCut(t *testing.T) {
	const n, per = 500, 10
	b := recorded(t, n, per)
	random := rand.New(rand.NewPCG(1, 2))
	cuts := []int{0, 1, 7, 8, 9, 47, 48, len(b) - 1, len(b)}
	for range 100 {
		cuts = append(cuts, random.IntN(len(b)))
	}
	longest := 0
	for _, cut := range cuts {
		got, damaged, err := replay(t, b[:cut])
		var broken *DamageError
		switch {
		case cut < len(magic)+1:
			if !errors.Is(err, ErrForeign) {
				t.Errorf("cut at %d: %v", cut, err)
			}
		case cut == len(b):
			if err != io.EOF || got != n {
				t.Errorf("not cut: %d, %v", got, err)
			}
		case err != io.ErrUnexpectedEOF && !(errors.As(err, &broken) && errors.Is(err, io.ErrUnexpectedEOF)):
			t.Errorf("cut at %d: %v", cut, err)
		}
		if len(damaged) > 0 || got%per != 0 && got != n {
			t.Errorf("cut at %d: %d events, %v", cut, got, damaged)
		}
		longest = max(longest, got)
	}
	if longest != n {
		t.Errorf("at most %d of %d events", longest, n)
	}
	// The frames before the cut are complete.
	if got, _, _ := replay(t, b[:len(b)-1]); got != n {
		t.Errorf("%d of %d events without the last byte", got, n)
	}
}

func TestReader_SkipsDamagedFrame(t *testing.T) {
	const n, per = 500, 10
	b := recorded(t, n, per)
	var frames []int // where each begins
	for at := len(magic) + 1; at < len(b); {
		h, err := parseHead(b[at:])
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, at)
		at += headSize + int(h.body)
	}
	at := frames[7]
	for _, test := range []struct {
		name         string
		byte         int
		want         int
		skipped, end bool
	}{
		{"in a body", at + headSize + 3, n - per, true, true},
		{"in a head", at + 5, 6 * per, false, false},
		{"in the first head", frames[0] + 9, 0, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := bytes.Clone(b)
			bad[test.byte] ^= 0x10
			got, damaged, err := replay(t, bad)
			var broken *DamageError
			if got != test.want || (len(damaged) == 1) != test.skipped || (err == io.EOF) != test.end || !test.end &&
				!errors.As(err, &broken) {
				t.Errorf("%d events, want %d; %v, %v", got, test.want, damaged, err)
			}
		})
	}
}

func TestReader_RefusesForeignAndNewerFiles(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("orb8"), []byte("\x1f\x8b gzip, perhaps"), bytes.Repeat([]byte{0}, 1000)} {
		if _, err := NewReader(bytes.NewReader(b)); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: %v", b, err)
		}
	}
	newer := bytes.Clone(recorded(t, 1, 1))
	newer[len(magic)] = 2
	var of *VersionError
	if _, err := NewReader(bytes.NewReader(newer)); !errors.As(err, &of) || of.Version != 2 {
		t.Errorf("%v", err)
	}
}

func TestFullDisk_EndsOnlyTheRecording(t *testing.T) {
	whole := len(recorded(t, 1000, 10))
	m := &memory{room: whole / 2}
	w, err := newWriter(m, session)
	if err != nil {
		t.Fatal(err)
	}
	reported := 0
	for i := range 1000 {
		if err := w.Write(example(i)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			reported++
		}
		if i%10 == 9 {
			w.mu.Lock()
			w.flush()
			w.mu.Unlock()
		}
	}
	if err := w.Close(); err != nil || reported != 1 || m.closed != 1 {
		t.Errorf("reported %d times, closed %d times, %v", reported, m.closed, err)
	}
	got, damaged, err := replay(t, m.Bytes())
	if got < 300 || got%10 != 0 || len(damaged) > 0 || err != io.ErrUnexpectedEOF {
		t.Errorf("%d events, %v, %v: want whole frames", got, damaged, err)
	}
	// Without room for the first frame, newWriter fails.
	if _, err := newWriter(&memory{room: 20}, session); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestReader_SelectsTimeRange(t *testing.T) {
	const n, per = 1000, 10
	b := recorded(t, n, per)
	for _, test := range []struct{ from, to, want int }{{0, 0, n}, {333, 0, n - 333}, {0, 333, 333}, {333, 334, 1},
		{990, 5000, 10}, {2000, 0, 0}} {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		at := func(i int) uint64 {
			if i == 0 {
				return 0
			}
			return example(i).GetTime()
		}
		r.Only(at(test.from), at(test.to))
		got := 0
		var ev event.Event
		for {
			if err = r.Next(&ev); err != nil {
				break
			}
			if i := test.from + got; test.from > 0 || test.to > 0 {
				if diff := cmp.Diff(example(i), &ev, protocmp.Transform()); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
			}
			got++
		}
		if got != test.want || err != io.EOF {
			t.Errorf("%d events from %d to %d, %v; want %d", got, test.from, test.to, err, test.want)
		}
		r.Close()
	}
}

func FuzzReader(f *testing.F) {
	b := recorded(f, 30, 10)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		if _, err := json.Marshal(r.Session); err != nil && r.Session.Started.Year() <= 9999 &&
			r.Session.Started.Year() >= 0 {
			t.Error(err)
		}
		var ev event.Event
		for err == nil {
			err = r.Next(&ev)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	w, err := newWriter(&memory{}, session)
	if err != nil {
		b.Fatal(err)
	}
	ev := example(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(ev); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	recording := recorded(b, 100_000, 2000)
	b.ReportAllocs()
	var r *Reader
	var ev event.Event
	for b.Loop() {
		for r == nil || r.Next(&ev) != nil {
			var err error
			if r, err = NewReader(bytes.NewReader(recording)); err != nil {
				b.Fatal(err)
			}
		}
	}
}
