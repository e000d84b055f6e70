package bpf

import "time"

// ScanShare is the share of one CPU that scans may take: one in 20.
const ScanShare = 20

// Rescans says when to scan for sockets that are older than the trace, or in scope only now: when the scope has grown,
// and once more an interval later, for a connection that no process had accepted yet has no file to be found by.
type Rescans struct {
	// Grown is the last value of scope.Grown. One that it never has makes the first scan due at once.
	Grown uint64
	// again is when a scan must be, earliest when one may be.
	again, earliest time.Time
}

// Due reports whether to scan now, with the present value of scope.Grown.
func (r *Rescans) Due(now time.Time, grown uint64, interval time.Duration) bool {
	due := !r.again.IsZero() && now.After(r.again)
	if !due && (grown == r.Grown || now.Before(r.earliest)) {
		return false
	}
	r.again = time.Time{}
	if grown != r.Grown {
		r.again = now.Add(interval)
	}
	r.Grown = grown
	return true
}

// Took takes what a scan that began at a time has cost.
func (r *Rescans) Took(began time.Time, cost time.Duration) { r.earliest = began.Add(ScanShare * cost) }

// AllowNow has the next scan not wait for its share of the CPU.
func (r *Rescans) AllowNow() { r.earliest = time.Time{} }
