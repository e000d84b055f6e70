package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
)

var started = time.Unix(1_790_000_000, 0)

// randomEvents returns encoded events of all kinds.
func randomEvents(tb testing.TB, r *rand.Rand, n int) (all [][]byte) {
	tb.Helper()
	now := started
	for len(all) < n {
		in := make([]byte, 1000)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		for _, ev := range eventtest.Events(in, now) {
			b, err := proto.Marshal(ev)
			if err != nil {
				tb.Fatal(err)
			}
			now = time.Unix(0, int64(ev.GetTime()))
			all = append(all, b)
		}
		if now.Sub(started) > 1000*time.Hour {
			now = started
		}
	}
	return all[:n]
}

// oddEvents are events that the encoder keeps as they are, or almost.
func oddEvents() [][]byte {
	name := []byte{3<<3 | 2, 1, 'a'}
	flow := []byte{16<<3&0x7f | 2 | 0x80, 1, 2, 2 << 3, 1}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	return [][]byte{
		{},
		{0},
		{0xff},
		cat(name, name),
		cat(flow, name), // not in the order of numbers
		cat(flow, flow), // merged by protobuf
		cat(flow, []byte{17<<3&0x7f | 2 | 0x80, 1, 0}),           // two kinds
		cat(name, []byte{63<<3&0x7f | 0x80, 3, 1}),               // an unknown field
		{3<<3 | 2, 0x81, 0, 'a'},                                 // a length that is too long
		{3<<3 | 0x82, 0, 1, 'a'},                                 // a tag that is too long
		{16<<3&0x7f | 2 | 0x80, 1, 3, 2 << 3, 0x81, 0},           // a number that is too long
		{16<<3&0x7f | 2 | 0x80, 1, 1, 2 << 3},                    // a number that is cut
		{16<<3&0x7f | 2 | 0x80, 1, 3, 2 << 3, 1},                 // a message that is cut
		{16<<3&0x7f | 3 | 0x80, 1, 16<<3&0x7f | 4 | 0x80, 1},     // a group
		{1<<3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 1<<3 | 1, 1, 0, 0, 0}, // a time that is cut
		{1 << 3, 5},              // a time of another type
		{2, 2, 'a', 'b'},         // field 0
		{3<<3 | 2, 1, 0xff},      // no UTF-8
		{3<<3 | 2, 0},            // an empty name that is written
		bytes.Repeat(name, 2000), // more fields than a shape may have
		bytes.Repeat([]byte{1<<3 | 1, 1, 0, 0, 0, 0, 0, 0, 0}, 3),
	}
}

func mustColumns(tb testing.TB, c *columns) *columns {
	tb.Helper()
	parsed, err := parseColumns(c.encode(), c.events)
	if err != nil {
		tb.Fatal(err)
	}
	return parsed
}

// decoded returns the events of columns with their headers.
func decoded(tb testing.TB, c *columns) (events [][]byte, headers []header) {
	tb.Helper()
	d, err := newColumnDecoder(c)
	if err != nil {
		tb.Fatal(err)
	}
	for {
		ok, err := d.next()
		if err != nil {
			tb.Fatal(err)
		}
		if !ok {
			return events, headers
		}
		h := d.header(d.shape, d.fields)
		headers = append(headers, header{h.time, h.kind, Names{bytes.Clone(h.names.Namespace), bytes.Clone(h.names.Pod),
			bytes.Clone(h.names.Workload)}})
		ev, err := d.event()
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, bytes.Clone(ev))
	}
}

// wantHeader is the header by protobuf.
func wantHeader(b []byte) (h header, ok bool) {
	ev := &event.Event{}
	if proto.Unmarshal(b, ev) != nil {
		return h, false
	}
	h = header{ev.GetTime(), 1, Names{[]byte(ev.GetNamespace()), []byte(ev.GetPod()), []byte(ev.GetWorkload())}}
	m := ev.ProtoReflect()
	if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind")); f != nil {
		h.kind = 1 << f.Number()
	}
	return h, true
}

func sameHeader(a, b header) bool {
	return a.time == b.time && a.kind == b.kind && bytes.Equal(a.names.Namespace, b.names.Namespace) &&
		bytes.Equal(a.names.Pod, b.names.Pod) && bytes.Equal(a.names.Workload, b.names.Workload)
}

// checkLossless checks that columns return the events, all of them and any number of the first ones.
func checkLossless(tb testing.TB, events [][]byte) {
	tb.Helper()
	e := newColumnEncoder()
	var snapshots []*columns
	for i, ev := range events {
		h, _ := e.add(ev)
		if want, ok := wantHeader(ev); ok && !sameHeader(h, want) {
			tb.Fatalf("event %d %x: header %v, want %v", i, ev, h, want)
		}
		if i == len(events)-1 || i%193 == 192 {
			snapshots = append(snapshots, e.columns())
		}
	}
	for _, c := range snapshots {
		got, headers := decoded(tb, c)
		if c.events == len(events) {
			got, headers = decoded(tb, mustColumns(tb, c))
		}
		if len(got) != c.events {
			tb.Fatalf("%d events, want %d", len(got), c.events)
		}
		for i, ev := range got {
			if !bytes.Equal(ev, events[i]) {
				tb.Fatalf("event %d is\n%x\nwant\n%x", i, ev, events[i])
			}
			if want, ok := wantHeader(ev); ok && !sameHeader(headers[i], want) {
				tb.Fatalf("event %d: header %v, want %v", i, headers[i], want)
			}
		}
	}
}

func TestColumns_AreLossless(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		events := randomEvents(t, r, 500)
		for range 100 { // damage
			ev := slices.Clone(events[r.IntN(len(events))])
			if len(ev) > 0 {
				ev[r.IntN(len(ev))] ^= 1 << r.IntN(8)
			}
			events = slices.Insert(events, r.IntN(len(events)), ev)
		}
		for _, ev := range oddEvents() {
			events = slices.Insert(events, r.IntN(len(events)), ev)
		}
		checkLossless(t, events)
	}
	checkLossless(t, oddEvents())
	flows := newTraffic(30, 200, 0.2)
	var events [][]byte
	for range 10 {
		events = append(events, flows.round(t)...)
	}
	checkLossless(t, events)
}

func TestColumns_OfRealEventsAreNotVerbatim(t *testing.T) {
	e := newColumnEncoder()
	for i, ev := range randomEvents(t, rand.New(rand.NewPCG(1, 2)), 500) {
		if e.parse(ev); len(ev) > 0 && e.tags[0] == verbatimTag {
			t.Fatalf("event %d is kept as it is: %x", i, ev)
		}
	}
}

// TestColumnDecoder_IsBounded decodes columns that claim more than they hold.
func TestColumnDecoder_IsBounded(t *testing.T) {
	text := func(n int) []byte { return append(binary.AppendUvarint(nil, uint64(n)), make([]byte, n)...) }
	repeat := func(v uint64, n int) []byte { return bytes.Repeat(binary.AppendUvarint(nil, v), n) }
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	texts := func(n int) []byte { // a shape of n texts
		return cat(binary.AppendUvarint(nil, uint64(n)), repeat(3<<3|2, n))
	}
	all := func(n int) []byte { // a text with n bits that are set
		return cat(binary.AppendUvarint(nil, uint64(n/8)), bytes.Repeat([]byte{0xff}, n/8))
	}
	for _, test := range []struct {
		name    string
		events  int
		streams [][]byte
		want    string
	}{
		{"an event of large texts", 1, [][]byte{texts(1000), cat(all(1000), text(1<<20)), {3}, nil, {0},
			cat([]byte{0}, repeat(3, 999))}, "an event of more than 524288 bytes"},
		{"events of large texts", maxEvents, [][]byte{texts(8), cat(all(8), text(60<<10)), cat([]byte{3},
			repeat(2, maxEvents)), cat([]byte{2}, repeat(0, maxEvents)), cat([]byte{0}, repeat(2, maxEvents)),
			cat([]byte{0}, repeat(3, 9<<16))}, "events of more than 67108864 bytes"},
		{"a series of each event", maxEvents, [][]byte{texts(1000), nil, repeat(3, maxEvents), nil,
			repeat(1, maxEvents)}, "more than 1048576 values"},
		{"many shapes", 1, [][]byte{bytes.Repeat(texts(1000), 2000), nil, {3}, nil, {1}}, "shapes of more than"},
		{"a large shape", 1, [][]byte{texts(maxTags + 1), nil, {3}, nil, {1}}, "a shape of 1025 tokens"},
		{"nested messages", 1, [][]byte{cat([]byte{18}, repeat(1<<3|3, 9), repeat(1<<3|4, 9)), nil, {3}, nil, {1}},
			"messages in 8 messages"},
		{"many texts", maxEvents, [][]byte{texts(96), cat(all(96), make([]byte, 6<<20)), cat([]byte{3},
			repeat(2, maxEvents)), cat([]byte{2}, repeat(0, maxEvents)), cat([]byte{0}, repeat(2, maxEvents)),
			make([]byte, 6<<20)}, "an event without field"},
		{"an end without a message", 1, [][]byte{{1, 1<<3 | 4}, nil, {3}, nil, {1}}, "ends that has not begun"},
		{"an end of another message", 1, [][]byte{{2, 1<<3 | 3, 2<<3 | 4}, nil, {3}, nil, {1}},
			"ends that has not begun"},
		{"a message without an end", 1, [][]byte{{1, 1<<3 | 3}, nil, {3}, nil, {1}}, "without an end"},
		{"a series that is not there", 1, [][]byte{{1, 1 << 3}, nil, {2}, {2}, {1}}, "without a base"},
		{"a series before the first", 1, [][]byte{{1, 1 << 3}, nil, {2}, {1}, {1}}, "without a base"},
		{"a shape that is not there", 1, [][]byte{{1, 1 << 3}, nil, {5}, nil, {1}}, "without a shape"},
		{"a text that is not there", 1, [][]byte{{1, 3<<3 | 2}, {1, 1}, {3}, nil, {0}, {9}}, "without field 0"},
		{"a field that is not there", 1, [][]byte{{1, 1 << 3}, {1, 2}, {3}, nil, {0}, {9}}, "without field 1"},
		{"a fixed32 of 33 bits", 1, [][]byte{{1, 1<<3 | 5}, {1, 1}, {3}, nil, {0},
			binary.AppendUvarint(nil, protowire.EncodeZigZag(1<<32))}, "without field 0"},
		{"a stream that is not there", 1, [][]byte{{1, 1 << 3}, {1, 1}, {3}, nil, {0}}, "without field 0"},
		{"a missing event", 2, [][]byte{{1, 1 << 3}, {1, 1}, {3}, nil, {0}, {9}}, "without a shape"},
		{"field 0", 1, [][]byte{{2, 2, 2}, nil, {3}, nil, {1}}, "a tag 2"},
		{"a large tag", 1, [][]byte{cat([]byte{1}, binary.AppendUvarint(nil, 1<<40)), nil, {3}, nil, {1}}, "a tag"},
		{"too many events", maxEvents + 1, [][]byte{nil, nil, nil, nil, nil}, "65537 events"},
		{"too few streams", 1, [][]byte{nil, nil, nil, nil}, "in 4 streams"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c := &columns{test.events, test.streams}
			c, err := parseColumns(c.encode(), c.events)
			var d *columnDecoder
			if err == nil {
				d, err = newColumnDecoder(c)
			}
			for ok := true; err == nil && ok; {
				if ok, err = d.next(); err == nil && ok {
					_, err = d.event()
				}
			}
			if !errors.Is(err, errColumns) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 100<<20 {
				t.Errorf("allocates %d bytes", n)
			}
		})
	}
}

func FuzzColumns_AreLossless(f *testing.F) {
	for _, ev := range append(oddEvents(), randomEvents(f, rand.New(rand.NewPCG(3, 4)), 50)...) {
		f.Add(ev, ev, 0, byte(0))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, at int, flip byte) {
		events := [][]byte{a, b, a}
		if len(a) > 0 {
			changed := bytes.Clone(a)
			changed[uint(at)%uint(len(a))] ^= flip
			events = append(events, changed, b, changed)
		}
		checkLossless(t, events)
	})
}

func FuzzColumnDecoder(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		e := newColumnEncoder()
		for _, ev := range append(randomEvents(f, r, 10), oddEvents()...) {
			if len(ev) < 1000 {
				e.add(ev)
			}
		}
		c := e.columns()
		f.Add(c.encode(), c.events)
	}
	f.Fuzz(func(t *testing.T, body []byte, events int) {
		c, err := parseColumns(body, int(uint(events)%(maxEvents+1)))
		if err != nil {
			return
		}
		d, err := newColumnDecoder(c)
		if err != nil {
			return
		}
		for {
			if ok, err := d.next(); err != nil || !ok {
				return
			}
			d.header(d.shape, d.fields)
			if ev, err := d.event(); err != nil || len(ev) > maxEvent {
				return
			}
		}
	})
}
