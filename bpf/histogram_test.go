package bpf

import "testing"

func TestQuantilesLieWithinTheirBuckets(t *testing.T) {
	var b [32]uint64
	b[3], b[10] = 98, 2 // of 512 to 1024 ns, and of 65,536 to 131,072 ns
	for _, c := range []struct{ percent, low, high uint64 }{{50, 512, 1024}, {95, 512, 1024}, {99, 65536, 131072},
		{100, 65536, 131072}} {
		if q := Quantile(&b, c.percent); q < c.low || q > c.high {
			t.Errorf("p%d is %d, want %d to %d", c.percent, q, c.low, c.high)
		}
	}
	if q := Quantile(&[32]uint64{1}, 50); q > 128 {
		t.Errorf("one call of less than 128 ns gives %d", q)
	}
}
