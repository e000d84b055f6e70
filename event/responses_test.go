package event

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestResponseBuckets_BoundsMeet(t *testing.T) {
	for b := range ResponseBuckets - 1 {
		from, to := ResponseBounds(b)
		if next, _ := ResponseBounds(b + 1); next != to || from >= to {
			t.Errorf("bucket %d is from %v to %v, the next one from %v", b, from, to, next)
		}
		for _, micros := range []float64{math.Ceil(from), math.Ceil(to) - 1} {
			if micros >= from && micros < to && ResponseBucket(uint64(micros)) != b {
				t.Errorf("%v µs is in bucket %d, want %d", micros, ResponseBucket(uint64(micros)), b)
			}
		}
		if middle := (from + to) / 2; b > 0 && (to/middle > 1.046 || middle/from > 1.046) {
			t.Errorf("bucket %d: its middle is more than 4.6 %% from its bounds", b)
		}
	}
	for _, micros := range []uint64{1 << 26, 1 << 40, math.MaxUint64} {
		if b := ResponseBucket(micros); b != ResponseBuckets-1 {
			t.Errorf("%d µs is in bucket %d, want the last", micros, b)
		}
	}
}

// times makes ResponseTimes of times, µs.
func times(all ...uint64) *ResponseTimes {
	r := &ResponseTimes{}
	for _, micros := range all {
		r.Histogram = MergeResponses(nil, r.Histogram, AppendResponses(nil, ResponseBucket(micros), 1))
		r.MaxMicros, r.TotalMicros = max(r.MaxMicros, micros), r.TotalMicros+micros
	}
	return r
}

func TestResponseQuantile_IsNearTheTruth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() uint64{
		"all alike":      func() uint64 { return 37_000 },
		"two ways":       func() uint64 { return []uint64{300, 300, 300, 120_000}[r.IntN(4)] },
		"over 6 decades": func() uint64 { return uint64(math.Exp(r.Float64()*13 + 4)) },
		"short":          func() uint64 { return r.Uint64N(90) },
	}
	for name, next := range shapes {
		all := make([]uint64, 999)
		for i := range all {
			all[i] = next()
		}
		got := times(all...)
		slices.Sort(all)
		if n := ResponseCount(got); n != uint64(len(all)) {
			t.Errorf("%s: %d times, want %d", name, n, len(all))
		}
		for _, percent := range []float64{0, 1, 50, 95, 99, 100} {
			want := float64(all[max(int(math.Ceil(percent/100*float64(len(all))))-1, 0)])
			q, ok := ResponseQuantile(got, percent)
			if off := math.Abs(float64(q) - want); !ok || off > max(want*0.046, 17) {
				t.Errorf("%s: p%v is %d, want %v", name, percent, q, want)
			}
		}
	}
	if _, ok := ResponseQuantile(nil, 50); ok {
		t.Error("no times have a median")
	}
}

func TestMergeResponses(t *testing.T) {
	for name, test := range map[string]struct{ a, b, want []uint64 }{
		"nothing":       {nil, nil, nil},
		"one side":      {[]uint64{1<<8 | 3}, nil, []uint64{1<<8 | 3}},
		"other buckets": {[]uint64{1<<8 | 3, 2<<8 | 9}, []uint64{5<<8 | 4}, []uint64{1<<8 | 3, 5<<8 | 4, 2<<8 | 9}},
		"same bucket":   {[]uint64{1<<8 | 3}, []uint64{2<<8 | 3, 1<<8 | 4}, []uint64{3<<8 | 3, 1<<8 | 4}},
		"too many": {[]uint64{maxResponses << 8}, []uint64{maxResponses << 8},
			[]uint64{maxResponses << 8}},
	} {
		if got := MergeResponses(nil, test.a, test.b); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func FuzzResponseTimes(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint64(9), 99.0)
	f.Fuzz(func(t *testing.T, numbers []byte, longest uint64, percent float64) {
		r := &ResponseTimes{MaxMicros: longest}
		for i := 0; i+1 < len(numbers); i += 2 {
			r.Histogram = append(r.Histogram, uint64(numbers[i])|math.MaxUint64<<(numbers[i+1]%64)&^0xff)
		}
		sum := ResponseCount(r)
		if _, ok := ResponseQuantile(r, percent); ok != (sum > 0) {
			t.Errorf("a quantile is known: %v, of %d times", ok, sum)
		}
		if merged := MergeResponses(nil, r.Histogram, nil); len(merged) != len(r.Histogram) {
			t.Errorf("%v has become %v", r.Histogram, merged)
		}
	})
}
