package orbit

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func spans(limits ...uint64) (all []*Span) {
	for pair := range slices.Chunk(limits, 2) {
		all = append(all, &Span{From: pair[0], To: pair[1]})
	}
	return all
}

func text(all []*Span) string {
	var s string
	for _, one := range all {
		s += fmt.Sprintf("%d-%d ", one.GetFrom(), one.GetTo())
	}
	return s
}

func TestMergeSpans(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want []*Span }{
		{spans(), spans()},
		{spans(5, 6, 1, 2), spans(1, 2, 5, 6)},
		{spans(1, 3, 2, 5, 5, 6), spans(1, 6)},
		{spans(1, 9, 2, 3), spans(1, 9)},
		{spans(1, 0, 5, 6), spans(1, 0)},
		{spans(1, 3, 2, 0), spans(1, 0)},
		{spans(3, 3, 5, 4), spans()},
	} {
		if got := MergeSpans(test.in...); text(got) != text(test.want) {
			t.Errorf("of %s: %s, want %s", text(test.in), text(got), text(test.want))
		}
	}
}

func TestMergeSpans_IsBounded(t *testing.T) {
	t.Parallel()
	var all []*Span
	for i := range uint64(2 * MaxSpans) {
		all = append(all, &Span{From: 10 * i, To: 10*i + 5})
	}
	got := MergeSpans(all...)
	last := all[len(all)-1]
	if len(got) != MaxSpans || got[0].GetFrom() != 0 || text(got[MaxSpans-1:]) != text([]*Span{last}) {
		t.Errorf("%d: %s", len(got), text(got))
	}
}

func TestClipSpans(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		since, until uint64
		want         []*Span
	}{
		{0, 0, spans(1, 3, 5, 0)},
		{2, 0, spans(2, 3, 5, 0)},
		{3, 9, spans(5, 9)},
		{6, 7, spans(6, 7)},
		{0, 1, spans()},
	} {
		if got := ClipSpans(spans(1, 3, 5, 0), test.since, test.until); text(got) != text(test.want) {
			t.Errorf("from %d to %d: %s, want %s", test.since, test.until, text(got), text(test.want))
		}
	}
}

func TestSpanSum(t *testing.T) {
	t.Parallel()
	if got := SpanSum(spans(1, 3, 5, 0), time.Unix(0, 9)); got != 6 {
		t.Errorf("got %d, want 6", got)
	}
	if got := SpanSum(spans(5, 0), time.Unix(0, 4)); got != 0 { // a clock that is behind
		t.Errorf("got %d, want 0", got)
	}
}
