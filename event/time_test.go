package event

import (
	"math"
	"testing"
	"time"
)

func TestAppendTime_AsPackageTimeDoes(t *testing.T) {
	compare := func(ns uint64) {
		t.Helper()
		want := time.Unix(0, int64(ns)).UTC().Format(timeLayout)
		if got := string(appendTime([]byte("at "), ns)); got != "at "+want {
			t.Fatalf("%d is %s, want %s", ns, got, want)
		}
	}
	const day = 24 * uint64(time.Hour)
	for _, ns := range []uint64{0, 1, 999_999_999, 1e9, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		compare(ns)
	}
	for at := uint64(0); at < math.MaxInt64-day; at += day { // each day there is
		compare(at)
		compare(at + day - 1)
	}
	for second := range day / uint64(time.Second) {
		compare(1_764_000_000_123_456_789 + second*uint64(time.Second))
	}
}
