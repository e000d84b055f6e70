package flows

import (
	"testing"
	"time"
)

func TestScan_IdleTimeoutShrinksWithFreeRoom(t *testing.T) {
	for _, test := range []struct {
		flows uint64
		want  time.Duration
	}{
		{0, 30 * time.Second},
		{500, 7500 * time.Millisecond},
		{900, 300 * time.Millisecond},
		{1000, 0},
		{2000, 0}, // IPv4 and IPv6 have a map each, and flows counts both
	} {
		if got := idleTimeout(30*time.Second, test.flows, 1000); got.Round(time.Millisecond) != test.want {
			t.Errorf("%d flows in room for 1000: %s, want %s", test.flows, got, test.want)
		}
	}
}

func TestNextScan_IsAWholeInterval(t *testing.T) {
	const second = time.Second
	at := func(ns int64) time.Time { return time.Unix(0, ns) }
	for name, test := range map[string]struct {
		now  int64
		want int64
	}{
		"in the middle of an interval": {5_300_000_000, 6_000_000_000},
		"at a whole interval":          {5_000_000_000, 6_000_000_000},
		"just before a whole interval": {5_999_999_999, 6_000_000_000},
	} {
		if got := nextScan(at(test.now), second); got.UnixNano() != test.want {
			t.Errorf("%s: %d, want %d", name, got.UnixNano(), test.want)
		}
	}
}
