package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// openRolling opens a history that the test closes at its end. What it logs fails the test.
func openRolling(t *testing.T, o RollingOptions) *Rolling {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(failing{t}, nil))
	r, err := OpenRolling(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// failing is a log that fails a test.
type failing struct{ t *testing.T }

func (f failing) Write(b []byte) (int, error) {
	f.t.Errorf("logged: %s", b)
	return len(b), nil
}

func queryAll(t *testing.T, r *Rolling, s Selection) (events [][]byte, truncated bool) {
	t.Helper()
	truncated, err := r.Query(t.Context(), s, func(ev []byte) error {
		events = append(events, bytes.Clone(ev))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events, truncated
}

// selected is a naive Query.
func selected(t *testing.T, events [][]byte, s Selection) (matching [][]byte, truncated bool) {
	t.Helper()
	for _, b := range events {
		ev := &event.Event{}
		if err := proto.Unmarshal(b, ev); err != nil {
			t.Fatal(err)
		}
		kind := ""
		if k := event.KindOf(ev); k != nil {
			kind = k.Name
		}
		n := Names{[]byte(ev.GetNamespace()), []byte(ev.GetPod()), []byte(ev.GetWorkload())}
		if ev.GetTime() >= s.Since && (s.Until == 0 || ev.GetTime() < s.Until) &&
			(len(s.Kinds) == 0 || slices.Contains(s.Kinds, kind)) && (s.Match == nil || s.Match(n)) {
			matching = append(matching, b)
		}
	}
	if n := len(matching) - s.Newest; s.Newest > 0 && n > 0 {
		return matching[n:], true
	}
	return matching, false
}

func sameEvents(t *testing.T, got, want [][]byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("event %d is\n%x\nwant\n%x", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
}

// TestRolling_ReturnsWhatItHolds appends events of all kinds and compares selections with naive ones.
func TestRolling_ReturnsWhatItHolds(t *testing.T) {
	for name, o := range map[string]RollingOptions{
		"in memory": {MemoryBytes: MinMemoryBytes},
		"in a directory": {MemoryBytes: 8 << 20, Dir: filepath.Join(t.TempDir(), "a", "b"), DirBytes: MinDirBytes,
			Node: "n1"},
		// The names of the events have up to 4 KiB, so that memory has no room for those of all blocks.
		"in a directory with little memory": {MemoryBytes: MinMemoryBytes, Dir: t.TempDir(), DirBytes: MinDirBytes},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { checkRolling(t, o) }) })
	}
}

func checkRolling(t *testing.T, o RollingOptions) {
	r := rand.New(rand.NewPCG(7, 8))
	all := randomEvents(t, r, 3_500)
	h := openRolling(t, o)
	for at := 0; at < len(all); {
		n := min(r.IntN(200), len(all)-at)
		h.Append(all[at : at+n])
		at += n
		if o.Dir != "" || r.IntN(2) == 0 {
			synctest.Wait() // until blocks are sealed and on disk
		}
		s := h.Status()
		if s.Bytes > s.LimitBytes || s.DiskBytes > s.DiskLimitBytes || s.Events+s.Evicted != uint64(at) {
			t.Fatalf("%+v after %d events", s, at)
		}
		if r.IntN(8) > 0 {
			continue
		}
		synctest.Wait()
		held := all[at-int(h.Status().Events) : at]
		selection := randomSelection(r, held)
		got, truncated := queryAll(t, h, selection)
		want, more := selected(t, held, selection)
		if sameEvents(t, got, want); truncated != more {
			t.Fatalf("truncated %t", truncated)
		}
	}
	s := h.Status()
	if t.Logf("%+v", s); (s.Evicted == 0) != (o.MemoryBytes > MinMemoryBytes) {
		t.Errorf("%d events are evicted", s.Evicted)
	}
	if err := h.Close(); err != nil || o.Dir == "" {
		return
	}
	h = openRolling(t, o)
	got, _ := queryAll(t, h, Selection{})
	after := h.Status()
	sameEvents(t, got, all[len(all)-int(after.Events):])
	if o.MemoryBytes > MinMemoryBytes && (after.Events != s.Events || after.Evicted != 0 || after.Oldest != s.Oldest ||
		after.Newest != s.Newest) {
		t.Errorf("%+v", after)
	}
	got, truncated := queryAll(t, h, Selection{Newest: 7})
	if sameEvents(t, got, all[len(all)-7:]); !truncated {
		t.Error("not truncated")
	}
}

func randomSelection(r *rand.Rand, events [][]byte) (s Selection) {
	at := func() uint64 { return scanHeader(events[r.IntN(len(events))]).time }
	if len(events) == 0 {
		return s
	}
	if r.IntN(2) == 0 {
		s.Since = at()
	}
	if r.IntN(2) == 0 {
		s.Until = at()
	}
	if r.IntN(2) == 0 {
		s.Newest = 1 + r.IntN(1000)
	}
	kinds := event.Kinds()
	for range r.IntN(4) {
		s.Kinds = append(s.Kinds, kinds[r.IntN(len(kinds))].Name)
	}
	if r.IntN(2) == 0 {
		one := scanHeader(events[r.IntN(len(events))]).names
		s.Match = func(n Names) bool {
			return bytes.Equal(n.Namespace, one.Namespace) && (bytes.Equal(n.Pod, one.Pod) ||
				bytes.Equal(n.Workload, one.Workload))
		}
	}
	return s
}

// sealAll waits until all blocks but the open one are sealed, in a synctest bubble.
func sealAll(r *Rolling) {
	r.mu.Lock()
	r.rotate()
	r.mu.Unlock()
	synctest.Wait()
}

// blocksOf appends n blocks with a number of events each; the i-th is of a second and of the namespace "ns-i".
func blocksOf(t *testing.T, r *Rolling, n, per int) (all [][]byte) {
	t.Helper()
	for i := range n {
		for j := range per {
			b, err := proto.Marshal(&event.Event{Time: uint64(i+1)*1e9 + uint64(j), Namespace: fmt.Sprint("ns-", i),
				Pod: fmt.Sprint("pod-", j), Kind: &event.Event_Dns{Dns: &event.Dns{Name: fmt.Sprint(i, j)}}})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
		r.Append(all[per*i:])
		sealAll(r)
	}
	return all
}

// TestRolling_DecompressesOnlyWhatMayMatch makes all blocks but some unreadable.
func TestRolling_DecompressesOnlyWhatMayMatch(t *testing.T) {
	ns := func(names ...string) func(Names) bool {
		return func(n Names) bool { return slices.Contains(names, string(n.Namespace)) }
	}
	for _, test := range []struct {
		name       string
		s          Selection
		read, want int // blocks; events
	}{
		{"all", Selection{}, 10, 500},
		{"a time", Selection{Since: 4e9, Until: 6e9}, 2, 100},
		{"until the first of a block", Selection{Since: 4e9, Until: 6e9 + 1}, 3, 101},
		{"a kind that is not there", Selection{Kinds: []string{"flow"}}, 0, 0},
		{"kinds", Selection{Kinds: []string{"flow", "dns"}}, 10, 500},
		{"a namespace", Selection{Match: ns("ns-3")}, 1, 50},
		{"namespaces", Selection{Match: ns("ns-3", "ns-7", "x")}, 2, 100},
		{"a namespace that is not there", Selection{Match: ns("x")}, 0, 0},
		{"the newest of a block", Selection{Newest: 20}, 1, 20},
		{"a whole block", Selection{Newest: 50}, 2, 50},
		{"the newest of two blocks", Selection{Newest: 60}, 2, 60},
		{"the newest of some namespaces", Selection{Newest: 60, Match: ns("ns-1", "ns-3", "ns-7")}, 2, 60},
		{"the newest of all", Selection{Newest: 1000}, 10, 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				r, err := OpenRolling(RollingOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				defer closeRolling(t, r)
				all := blocksOf(t, r, 10, 50)
				got, truncated := queryAll(t, r, test.s)
				want, more := selected(t, all, test.s)
				if sameEvents(t, got, want); len(got) != test.want || truncated != more {
					t.Errorf("%d events, want %d; truncated %t, want %t", len(got), test.want, truncated, more)
				}
				for _, b := range r.blocks {
					if b.columns != nil || b.packed == nil {
						t.Fatal("a block is not sealed")
					}
					b.packed = []byte("damaged")
				}
				queryAll(t, r, test.s)
				// The search for the newest ends when a block is discarded, so it may go on to older ones.
				if n := strings.Count(log.String(), "discarded"); n != test.read && test.s.Newest == 0 {
					t.Errorf("reads %d blocks, want %d", n, test.read)
				}
			})
		})
	}
}

// Events whose texts containers make long are found without all of them in memory.
func TestRolling_NewestOfLargeEvents(t *testing.T) {
	r := openRolling(t, RollingOptions{})
	var all [][]byte
	for i := range 300 {
		ev, err := proto.Marshal(&event.Event{Time: uint64(i + 1), Kind: &event.Event_Exec{Exec: &event.Exec{
			Args: bytes.Repeat([]byte{byte('a' + i%26)}, 40_000+i)}}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ev)
		r.Append(all[i:])
	}
	q, err := newQuery(Selection{Newest: 250})
	if err != nil {
		t.Fatal(err)
	}
	q.end = r.Mark()
	if _, _, err := r.newest(t.Context(), q); !errors.Is(err, errTail) {
		t.Errorf("%d bytes are held: %v", 250*40_000, err)
	}
	for _, n := range []int{100, 250} {
		got, truncated := queryAll(t, r, Selection{Newest: n})
		if sameEvents(t, got, all[300-n:]); !truncated {
			t.Errorf("newest %d is not truncated", n)
		}
	}
}

func TestRolling_FindsNewestFromTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRolling(t, RollingOptions{})
		all := blocksOf(t, r, 10, 50)
		for _, b := range r.blocks[:8] { // a read of them would be logged
			b.packed = []byte("damaged")
		}
		for _, n := range []int{1, 49, 50, 51, 99} {
			got, truncated := queryAll(t, r, Selection{Newest: n})
			if sameEvents(t, got, all[500-n:]); !truncated {
				t.Errorf("newest %d is not truncated", n)
			}
		}
	})
}

func TestRolling_MemoryIsBounded(t *testing.T) {
	for _, test := range []struct {
		name   string
		events func() [][]byte
	}{
		{"flows", func() [][]byte { return nil }},
		{"random", func() [][]byte { return randomEvents(t, rand.New(rand.NewPCG(9, 10)), 300) }},
		{"large", func() (all [][]byte) {
			r := rand.New(rand.NewPCG(11, 12))
			for range 6 {
				b := make([]byte, 200<<10)
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				all = append(all, b)
			}
			return all
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkMemory(t, test.events()) })
		})
	}
}

// checkMemory appends events, or flows without any, many times.
func checkMemory(t *testing.T, events [][]byte) {
	const limit = 4 << 20
	flows := newTraffic(50, 2000, 0.5)
	before := heap()
	r := openRolling(t, RollingOptions{MemoryBytes: limit})
	most := uint64(0)
	for i := range 60 {
		batch := events
		if batch == nil {
			batch = flows.round(t)
		}
		r.Append(batch)
		s := r.Status()
		if s.Bytes > limit || s.LimitBytes != limit {
			t.Fatalf("%+v", s)
		}
		if i%10 == 9 {
			synctest.Wait() // for the block that is being sealed
			most = max(most, heap()-before)
		}
	}
	s := r.Status()
	if t.Logf("%d bytes of heap, %+v", most, s); s.Evicted == 0 || s.Bytes < limit/2 {
		t.Error("the history is not full")
	}
	// The compressor has tables and a window of its own, and slices that grow are there twice.
	if most > limit+6<<20 {
		t.Errorf("%d bytes of heap", most)
	}
	runtime.KeepAlive(events)
	runtime.KeepAlive(flows)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestRolling_ConcurrentUse appends, queries and closes at once, for the race detector.
func TestRolling_ConcurrentUse(t *testing.T) {
	r := openRolling(t, RollingOptions{MemoryBytes: MinMemoryBytes, Dir: t.TempDir(), DirBytes: MinDirBytes})
	var appending, querying sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		querying.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				s := Selection{Newest: 100 * i, Kinds: []string{"flow"}}
				if n%2 == 0 {
					s.Match = func(n Names) bool { return string(n.Namespace) == "shop" }
				}
				last := uint64(0)
				_, err := r.Query(t.Context(), s, func(b []byte) error {
					h := scanHeader(b)
					if h.time < last || h.kind != 1<<16 || s.Match != nil && string(h.names.Namespace) != "shop" {
						return fmt.Errorf("%v after %d", h, last)
					}
					last = h.time
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				r.Status()
			}
		})
	}
	flows := newTraffic(30, 500, 0.1)
	var mu sync.Mutex
	for range 2 {
		appending.Go(func() {
			for range 15 {
				mu.Lock()
				r.Append(flows.round(t))
				mu.Unlock()
			}
		})
	}
	appending.Wait()
	close(done)
	querying.Wait()
}

func TestRolling_QueryEnds(t *testing.T) {
	r := openRolling(t, RollingOptions{})
	r.Append(newTraffic(10, 2000, 0).round(t))
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := r.Query(ctx, Selection{}, func([]byte) error { n++; cancel(); return nil })
		if !errors.Is(err, context.Canceled) || n > 256 {
			t.Errorf("%d events, %v", n, err)
		}
		if _, err := r.Query(ctx, Selection{Newest: 5}, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("with an error of yield", func(t *testing.T) {
		stop := errors.New("stop")
		n := 0
		if _, err := r.Query(t.Context(), Selection{}, func([]byte) error { n++; return stop }); err != stop || n != 1 {
			t.Errorf("%d events, %v", n, err)
		}
	})
	t.Run("with an unknown kind", func(t *testing.T) {
		if _, err := r.Query(t.Context(), Selection{Kinds: []string{"flows"}}, nil); err == nil ||
			!strings.Contains(err.Error(), `"flows"`) {
			t.Error(err)
		}
	})
	t.Run("without events of its own yield", func(t *testing.T) {
		n := 0
		more := newTraffic(10, 10, 0).round(t)
		if _, err := r.Query(t.Context(), Selection{}, func([]byte) error {
			r.Append(more) // during a query
			n++
			return nil
		}); err != nil || n != 2000 {
			t.Errorf("%d events, %v", n, err)
		}
	})
}

func TestRolling_RefusesLargeEventsAndBadLimits(t *testing.T) {
	r := openRolling(t, RollingOptions{})
	r.Append([][]byte{make([]byte, maxEvent+1), make([]byte, maxEvent)})
	if s := r.Status(); s.Refused != 1 || s.Events != 1 {
		t.Errorf("%+v", s)
	}
	for _, o := range []RollingOptions{{MemoryBytes: 1000}, {MemoryBytes: -1}, {DirBytes: 1000}, {MemoryBytes: 1 << 50},
		{Dir: filepath.Join(t.TempDir(), "\x00")}} {
		if _, err := OpenRolling(o); err == nil || !strings.Contains(err.Error(), "history") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	r.Append([][]byte{{1}})
	if s := r.Status(); s.Events != 1 {
		t.Errorf("%+v after Close", s)
	}
}
