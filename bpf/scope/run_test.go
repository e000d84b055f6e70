package scope

import (
	"strings"
	"testing"
	"time"
)

// next gives the next event below this path; other cgroups of the machine come and go meanwhile.
func next(t *testing.T, events <-chan Event, below string) Event {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e := <-events:
			if strings.HasPrefix(e.Path, below) {
				return e
			}
		case <-timeout:
			t.Fatal("no event")
		}
	}
}

func TestRemovedQueue_KeepsForAWhile(t *testing.T) {
	var g removedQueue
	start := time.Now()
	g.push(1, start)
	if id, _, ok := g.pop(start.Add(retention - time.Nanosecond)); ok {
		t.Errorf("%d was let go too early", id)
	}
	if id, early, ok := g.pop(start.Add(retention)); !ok || early || id != 1 {
		t.Errorf("got %d, %v, want 1", id, ok)
	}
	for id := range uint64(maxRemoved + 1) {
		g.push(id, start)
	}
	if id, early, ok := g.pop(start); !ok || !early || id != 0 {
		t.Errorf("one too many: got %d, %v, want the oldest", id, ok)
	}
	if id, _, ok := g.pop(start); ok {
		t.Errorf("%d was let go with no need", id)
	}
}

func FuzzDecode(f *testing.F) {
	whole := make([]byte, 24+6)
	whole[20] = 6
	copy(whole[24:], "/a/b\x00")
	f.Add(whole)
	f.Add(whole[:24])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decode(raw)
		if err == nil && strings.ContainsRune(e.Path, 0) {
			t.Errorf("path %q holds a zero", e.Path)
		}
	})
}
