package remote

import (
	"maps"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func TestGaps(t *testing.T) {
	at := time.Date(2026, 11, 30, 10, 0, 0, 0, time.Local)
	ns := func(seconds int) uint64 { return uint64(at.Add(time.Duration(seconds) * time.Second).UnixNano()) }
	span := func(from, to int) *orbit.Span {
		s := &orbit.Span{From: ns(from)}
		if to > 0 {
			s.To = ns(to)
		}
		return s
	}
	g := gaps{}
	set := func(want string, gaps ...*orbit.Span) {
		t.Helper()
		if got := g.set(&orbit.NodeCoverage{Node: "a", Gaps: gaps}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	set("")
	set("", span(1, 0))
	const first = "nothing was seen from 10:00:01.000 to 10:00:03.000 (2.0 s)"
	set(first, span(1, 3))
	set("", span(1, 3))
	set("", span(1, 3), span(8, 0))
	if got := g.resume(ns(9)); len(got) != 1 || got["a"] != ns(8) {
		t.Errorf("the next server begins at %v, want %d of a", got, ns(8))
	}
	// The next server's begins later, and it knows nothing of the first gap.
	set("", span(8, 0))
	set("", span(8, 0))
	if got := g.sums(at.Add(12 * time.Second)); !maps.Equal(got, map[string]time.Duration{"a": 6 * time.Second}) {
		t.Errorf("while it lasts: %v, want 6 s", got)
	}
	set("nothing was seen from 10:00:08.000 to 10:00:10.000 (2.0 s)", span(8, 10))
	if got := g.sums(at.Add(time.Hour)); !maps.Equal(got, map[string]time.Duration{"a": 4 * time.Second}) {
		t.Errorf("in the end: %v, want 4 s", got)
	}
	if got := g.resume(ns(20)); got != nil {
		t.Errorf("the next server begins at %v", got)
	}
	// It was cut off, and its agent had all of it.
	set("", span(30, 0))
	set("")
	if got := g.sums(at.Add(time.Hour)); !maps.Equal(got, map[string]time.Duration{"a": 4 * time.Second}) {
		t.Errorf("after a cut without a loss: %v, want 4 s", got)
	}
}
