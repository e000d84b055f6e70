package bpf

import "time"

const (
	// ScanShare is the share of one CPU that scans may take: one in 20.
	ScanShare = 20
	// maxScanShare is the share for the shortest intervals: one in 5. From fullInterval on it is ScanShare.
	maxScanShare = 5
	fullInterval = time.Second
)

// ScanShareAt is the share of one CPU that scans in an interval may take: one in so many. A scan takes as long, however
// often it runs, so that a shorter interval has to cost more, or it would have no effect on a node with many sockets.
func ScanShareAt(interval time.Duration) time.Duration {
	return min(max(ScanShare*interval/fullInterval, maxScanShare), ScanShare)
}

// Rescans schedules the scans for preexisting sockets: when the scope has grown, and once more an interval later. A
// connection that was not accepted at the first scan has no file to be found by.
type Rescans struct {
	// Grown is the last value of scope.Grown. An impossible value makes the first scan due at once.
	Grown uint64
	// second is when the second scan is due, earliest when the next scan is allowed.
	second, earliest time.Time
}

// Due reports whether to scan now, with the present value of scope.Grown.
func (r *Rescans) Due(now time.Time, grown uint64, interval time.Duration) bool {
	due := !r.second.IsZero() && now.After(r.second)
	if !due && (grown == r.Grown || now.Before(r.earliest)) {
		return false
	}
	r.second = time.Time{}
	if grown != r.Grown {
		r.second = now.Add(interval)
	}
	r.Grown = grown
	return true
}

// Took records how long a scan that began at a time took.
func (r *Rescans) Took(began time.Time, cost time.Duration) { r.earliest = began.Add(ScanShare * cost) }

// AllowNow lets the next scan run at once, whatever the last one cost.
func (r *Rescans) AllowNow() { r.earliest = time.Time{} }
