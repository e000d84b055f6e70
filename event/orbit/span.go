package orbit

import (
	"cmp"
	"slices"
	"time"
)

// MaxSpans limits the spans of a node. Where there are more, the two oldest become one that has the time between them,
// too.
const MaxSpans = 64

// open is the end of a span that lasts, where ends are compared.
const open = ^uint64(0)

func (s *Span) end() uint64 {
	if s.GetTo() == 0 {
		return open
	}
	return s.GetTo()
}

// MergeSpans returns the times that are in one of the spans, oldest first and apart from each other, MaxSpans at most.
func MergeSpans(all ...*Span) (merged []*Span) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *Span) int { return cmp.Compare(a.GetFrom(), b.GetFrom()) })
	for _, s := range all {
		if s.end() <= s.GetFrom() {
			continue
		}
		if n := len(merged); n > 0 && s.GetFrom() <= merged[n-1].end() {
			if s.end() > merged[n-1].end() {
				merged[n-1].To = s.GetTo()
			}
			continue
		}
		merged = append(merged, &Span{From: s.GetFrom(), To: s.GetTo()})
	}
	if extra := len(merged) - MaxSpans; extra > 0 {
		merged[extra].From = merged[0].GetFrom()
		merged = merged[extra:]
	}
	return merged
}

// ClipSpans returns the parts of the spans that are between two times; until is 0 for none.
func ClipSpans(all []*Span, since, until uint64) (clipped []*Span) {
	for _, s := range all {
		c := &Span{From: max(s.GetFrom(), since), To: s.GetTo()}
		if until > 0 {
			c.To = min(s.end(), until)
		}
		if c.end() > c.GetFrom() {
			clipped = append(clipped, c)
		}
	}
	return clipped
}

// SpanSum returns how long the spans are together, which lie apart; those that last end now.
func SpanSum(all []*Span, now time.Time) (sum time.Duration) {
	for _, s := range all {
		to := min(s.end(), uint64(now.UnixNano()))
		sum += time.Duration(max(to, s.GetFrom()) - s.GetFrom())
	}
	return sum
}
