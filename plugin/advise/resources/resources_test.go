package resources

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

func ptr(n uint64) *uint64 { return &n }

const mi = mebibyte

// sample is the use in one interval. Numbers below 0 are not known.
type sample struct {
	cpu, cpuLimit, periods, throttled, working, memoryLimit, kills int64
}

func (s sample) event(pod string) *event.Event {
	n := func(v int64) *uint64 {
		if v < 0 {
			return nil
		}
		return ptr(uint64(v))
	}
	return &event.Event{Namespace: "shop", Workload: "deploy/web", Pod: pod, Container: "app",
		Kind: &event.Event_Resources{Resources: &event.Resources{Id: pod,
			Cpu: &event.ResourcesCPU{Millis: n(s.cpu), LimitMillis: n(s.cpuLimit), Periods: n(s.periods),
				ThrottledPeriods: n(s.throttled)},
			Memory: &event.ResourcesMemory{WorkingSetBytes: n(s.working), Bytes: n(s.working),
				LimitBytes: n(s.memoryLimit), OomKills: n(s.kills)},
		}}}
}

// steady are samples of 0 to 99m, and 100 MiB.
func steady(change func(i int, s *sample)) (events []*event.Event) {
	for i := range 100 {
		s := sample{cpu: int64(i), cpuLimit: -1, periods: -1, throttled: -1, working: 100 * mi, memoryLimit: -1}
		change(i, &s)
		events = append(events, s.event("web-1"))
	}
	return events
}

func TestAdvise(t *testing.T) {
	for name, test := range map[string]struct {
		change func(i int, s *sample)
		today  *Today
		patch  string
		warns  string
	}{
		"no limits": {func(int, *sample) {}, nil,
			`{"limits":{"memory":"120Mi"},"requests":{"cpu":"94m","memory":"100Mi"}}`, ""},
		"a CPU limit that does not throttle": {func(i int, s *sample) {
			s.cpuLimit, s.periods, s.throttled = 500, int64(i), 0
		}, nil, `{"limits":{"cpu":"500m","memory":"120Mi"},"requests":{"cpu":"94m","memory":"100Mi"}}`, ""},
		"throttled": {func(i int, s *sample) {
			s.cpuLimit, s.periods, s.throttled = 100, 1000+int64(i)*10, 500+int64(i)*2
		}, nil, `{"limits":{"cpu":"150m","memory":"120Mi"},"requests":{"cpu":"94m","memory":"100Mi"}}`,
			"CPU limit of 100m held it back in 20% of the periods"},
		"much throttled": {func(i int, s *sample) {
			s.cpuLimit, s.periods, s.throttled = 100, int64(i)*10, int64(i)*9
		}, nil,
			`{"limits":{"cpu":"200m","memory":"120Mi"},"requests":{"cpu":"94m","memory":"100Mi"}}`, "raised to 200m"},
		"throttled before the observation": {func(i int, s *sample) {
			s.cpuLimit, s.periods, s.throttled = 100, 1000+int64(i)*10, 500
		}, nil, `{"limits":{"cpu":"100m","memory":"120Mi"},"requests":{"cpu":"94m","memory":"100Mi"}}`, ""},
		"out of memory": {func(i int, s *sample) { s.memoryLimit, s.kills = 128*mi, int64(i)/50 }, nil,
			`{"limits":{"memory":"192Mi"},"requests":{"cpu":"94m","memory":"128Mi"}}`, "peak is cut by its limit"},
		"killed before its restart": {func(i int, s *sample) { s.memoryLimit = 128 * mi },
			&Today{Amounts: Amounts{MemoryLimit: ptr(128 * mi)}, OOMKilled: true},
			`{"limits":{"memory":"192Mi"},"requests":{"cpu":"94m","memory":"128Mi"}}`, "ran out of memory"},
		"near its limit": {func(i int, s *sample) { s.memoryLimit = 105 * mi }, nil,
			`{"limits":{"memory":"120Mi"},"requests":{"cpu":"94m","memory":"100Mi"}}`, "at 95% of its memory limit"},
		"little": {func(i int, s *sample) { s.cpu, s.working = 0, mi-1 }, nil,
			`{"limits":{"memory":"17Mi"},"requests":{"cpu":"10m","memory":"1Mi"}}`, ""},
		"unknown CPU": {func(i int, s *sample) { s.cpu = -1 }, nil,
			`{"limits":{"memory":"120Mi"},"requests":{"memory":"100Mi"}}`, ""},
		"nothing known": {func(i int, s *sample) { s.cpu, s.working = -1, -1 }, nil, `null`, ""},
		"beyond all bounds": {func(i int, s *sample) { s.cpu, s.working = math.MaxInt64, math.MaxInt64 }, nil,
			`{"limits":{"memory":"1288490192Mi"},"requests":{"cpu":"1125899906842630m","memory":"1073741824Mi"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := NewObserved()
			for _, ev := range steady(test.change) {
				o.Add(ev)
			}
			today := func(manifest.Owner, string) *Today { return test.today }
			a := o.Advise(Options{Length: 2 * time.Hour, Today: today})[0]
			patch := []byte("null")
			if p := a.Patch(); p != nil {
				patch, _ = json.Marshal(p.Fields["resources"])
			}
			got := strings.Join(a.Warnings, "; ")
			if string(patch) != test.patch || !strings.Contains(got, test.warns) || (got == "") != (test.warns == "") {
				t.Errorf("%s, warns %q; want %s, %q", patch, got, test.patch, test.warns)
			}
		})
	}
}

// TestAdvise_TakesTheBusiestPod advises what the busiest pod needs, and states its use and what is set.
func TestAdvise_TakesTheBusiestPod(t *testing.T) {
	o := NewObserved()
	idle := sample{cpu: 10, cpuLimit: -1, periods: -1, throttled: -1, working: 20 * mi, memoryLimit: -1}
	busy := idle
	busy.cpu, busy.working = 1500, 50*mi
	for range 90 {
		o.Add(idle.event("web-1"))
	}
	for range 10 {
		o.Add(busy.event("web-2"))
	}
	a := o.Advise(Options{Length: time.Minute, Today: func(manifest.Owner, string) *Today {
		return &Today{Amounts: Amounts{CPURequest: ptr(2000)}}
	}})[0]
	want := []string{
		"container app of deploy/web in shop: 2 pods, 100 samples, observed for 1m0s",
		"CPU: p95 1500m, peak 1500m; no limit is set, and none is advised; today: request 2, limit none; " +
			"advised: request 1500m, limit none",
		"memory: largest working set 50.0Mi, with page cache 50.0Mi, 0 OOM kills; today: request none, limit none; " +
			"advised: request 50.0Mi, limit 66.0Mi",
	}
	if got := strings.Join(a.Evidence, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "observed for 1m0s only") {
		t.Errorf("%q", a.Warnings)
	}
}

func TestHistogram_Quantiles(t *testing.T) {
	for _, top := range []uint64{1, 100, 1000, 5000, 100000} {
		var h histogram
		for v := range top {
			h.add(v + 1)
		}
		for _, q := range []uint64{50, 95, 100} {
			exact := (top*q + 99) / 100
			if got := h.quantile(q); got < exact || got > exact+exact/64+1 || got > top {
				t.Errorf("%d%% of 1 to %d: %d, want %d", q, top, got, exact)
			}
		}
		if n := len(h.counts); n > 2000 {
			t.Errorf("%d counts of %d values", n, top)
		}
	}
	if got := fmt.Sprint(bucket(1023), bucket(1024), bucket(1039), bucket(1040)); got != "1023 1039 1039 1055" {
		t.Error(got)
	}
}

func TestAdd_RefusesNames(t *testing.T) {
	o := NewObserved()
	ev := sample{}.event("web-1")
	ev.Container = "a\nb"
	o.Add(ev)
	if o.Refused() != 1 || len(o.Advise(Options{})) != 0 {
		t.Errorf("%d refused", o.Refused())
	}
}
