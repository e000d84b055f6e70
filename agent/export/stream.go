package export

import "time"

// Reason is why records, or points of metrics, were lost.
type Reason int

// Reasons of losses.
const (
	// Overflow: the queue was full, and the oldest were dropped.
	Overflow Reason = iota
	// Refused: the collector did not accept them, or some of a request.
	Refused
	// Expired: a request was repeated for too long.
	Expired
	// Ended: the agent ended, or export was switched off, before they were sent.
	Ended
	// Unreadable: they could not be encoded, or a record alone is larger than a batch.
	Unreadable
	// Replaced: a newer snapshot of the metrics took the place of theirs.
	Replaced
	reasons
)

// String is the reason in a word.
func (r Reason) String() string {
	return [...]string{"overflow", "refused", "expired", "ended", "unreadable", "replaced"}[r]
}

// stream is the state of one signal. The exporter's lock guards its numbers.
type stream struct {
	signal
	// changed gets a value when another configuration is in force.
	changed chan struct{}

	queued, sent uint64 // since the start
	lost         [reasons]uint64
	// The result of the last attempts.
	lastSent     time.Time
	failing      string
	failingSince time.Time
}

func newStream(s signal) *stream { return &stream{signal: s, changed: make(chan struct{}, 1)} }

// noteFailure sets why the last attempt failed.
func (s *stream) noteFailure(text string, now time.Time) {
	s.failing = text
	if s.failingSince.IsZero() {
		s.failingSince = now
	}
}

func (s *stream) losses() (n uint64) {
	for _, lost := range s.lost {
		n += lost
	}
	return n
}

// Totals are the numbers of one signal since the start: of log records, or of points of metrics. Queued = Sent + Lost +
// Pending.
type Totals struct {
	Queued, Sent, Pending uint64
	Lost                  uint64
	LostBy                [reasons]uint64
	// LastSent is the time of the last accepted request.
	LastSent time.Time
	// Error is why the last attempt failed, since FailingSince; empty: it did not.
	Error        string
	FailingSince time.Time
}

func (s *stream) totals() Totals {
	lost := s.losses()
	return Totals{Queued: s.queued, Sent: s.sent, Lost: lost, LostBy: s.lost, Pending: s.queued - s.sent - lost,
		LastSent: s.lastSent, Error: s.failing, FailingSince: s.failingSince}
}
