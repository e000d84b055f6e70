//go:build linux && cgo

package nvml

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// maxTimes limits the recorded durations of one function.
const maxTimes = 10_000

// Timings records the durations of the library's functions. Its zero value is ready.
type Timings struct {
	mu   sync.Mutex
	took map[string][]time.Duration
	fail map[string]int
}

// Timing summarizes the calls of one function; times in µs.
type Timing struct {
	Function string  `json:"function"`
	Calls    int     `json:"calls"`
	Failed   int     `json:"failed"`
	Median   float64 `json:"medianMicros"`
	P99      float64 `json:"p99Micros"`
	Max      float64 `json:"maxMicros"`
}

func (t *Timings) add(name string, took time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.took == nil {
		t.took, t.fail = map[string][]time.Duration{}, map[string]int{}
	}
	if len(t.took[name]) < maxTimes {
		t.took[name] = append(t.took[name], took)
	}
	if !ok {
		t.fail[name]++
	}
}

// All returns the called functions, the slowest first.
func (t *Timings) All() []Timing {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := []Timing{}
	for name, took := range t.took {
		slices.Sort(took)
		at := func(percent int) float64 { return float64(took[(len(took)-1)*percent/100].Nanoseconds()) / 1000 }
		all = append(all, Timing{name, len(took), t.fail[name], at(50), at(99), at(100)})
	}
	slices.SortFunc(all, func(a, b Timing) int {
		return cmp.Or(cmp.Compare(b.Max, a.Max), cmp.Compare(a.Function, b.Function))
	})
	return all
}
