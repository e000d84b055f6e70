package bpf

import (
	"math"
	"testing"
	"time"
)

func TestRescans(t *testing.T) {
	const interval = time.Second
	start := time.Unix(1_700_000_000, 0)
	r := Rescans{Grown: math.MaxUint64}
	for _, step := range []struct {
		at    time.Duration
		grown uint64
		want  bool
		cost  time.Duration
	}{
		{at: 0, grown: 0, want: true, cost: 10 * time.Millisecond}, // the first
		{at: 100 * time.Millisecond, grown: 1},                     // may take one CPU in 20
		{at: 200 * time.Millisecond, grown: 1, want: true},         // the scope has grown
		{at: 300 * time.Millisecond, grown: 1},                     // it has not since
		{at: 1300 * time.Millisecond, grown: 1, want: true},        // once more
		{at: 9 * time.Second, grown: 1},
	} {
		now := start.Add(step.at)
		if got := r.Due(now, step.grown, interval); got != step.want {
			t.Errorf("at %v: %v, want %v", step.at, got, step.want)
		} else if got {
			r.Took(now, step.cost)
		}
	}
	r.Took(start, time.Hour)
	if r.Due(start.Add(time.Minute), 2, interval) {
		t.Error("due before its share of the CPU")
	}
	if r.AllowNow(); !r.Due(start.Add(time.Minute), 2, interval) {
		t.Error("not due though it is allowed")
	}
	if r = (Rescans{}); r.Due(start, 0, interval) {
		t.Error("due in a scope that never grew")
	}
}

func TestScanShareAt_ShortIntervals(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{
		time.Minute: 20, time.Second: 20, 500 * time.Millisecond: 10, 300 * time.Millisecond: 6,
		100 * time.Millisecond: 5,
	} {
		if got := ScanShareAt(interval); got != want {
			t.Errorf("at %v: one CPU in %d, want %d", interval, got, want)
		}
	}
}
