package bench

import "testing"

func TestMedian_AndItsInterval(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three is %v, want 2", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four is %v, want 2.5", got)
	}
	values := make([]float64, 20)
	for i := range values {
		values[i] = float64(i + 1)
	}
	// From tables of the sign test: for n = 20 the 6th value from either end.
	if low, high := interval(values); low != 6 || high != 15 {
		t.Errorf("interval of 1…20 is %v…%v, want 6…15", low, high)
	}
	if low, high := interval([]float64{1, 2, 3}); low != 1 || high != 3 {
		t.Errorf("interval of three is %v…%v, want the range", low, high)
	}
}
