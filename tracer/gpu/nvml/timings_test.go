//go:build linux && cgo

package nvml

import (
	"slices"
	"testing"
	"time"
)

func TestTimings_SlowestFunctionFirst(t *testing.T) {
	var timings Timings
	if all := timings.All(); len(all) != 0 {
		t.Errorf("%v", all)
	}
	for i := range 100 {
		timings.add("nvmlDeviceGetName", time.Duration(i+1)*time.Microsecond, true)
	}
	timings.add("nvmlInit", 20*time.Millisecond, false)
	want := []Timing{{"nvmlInit", 1, 1, 20000, 20000, 20000}, {"nvmlDeviceGetName", 100, 0, 50, 99, 100}}
	if all := timings.All(); !slices.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}
