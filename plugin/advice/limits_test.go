package advice

import (
	"fmt"
	"slices"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestLimits_AreNamed(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	reading := func(pod string, periods, throttled, percent, kills uint64) *event.Event {
		return &event.Event{Namespace: "shop", Pod: pod, Container: "app",
			Kind: &event.Event_Resources{Resources: &event.Resources{
				Id:     pod,
				Cpu:    &event.ResourcesCPU{Periods: n(periods), ThrottledPeriods: n(throttled), LimitMillis: n(300)},
				Memory: &event.ResourcesMemory{Percent: n(percent), LimitBytes: n(64 << 20), OomKills: n(kills)},
			}}}
	}
	s := newLimits()
	if got := s.summary(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	s.add(&event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{}}})
	s.add(reading("well", 100, 50, 89, 3)) // kills before the trace do not count
	s.add(reading("well", 200, 59, 80, 3))
	s.add(reading("held", 0, 0, 1, 0))
	s.add(reading("held", 30, 20, 1, 0))
	s.add(reading("full", 0, 0, 97, 0))
	s.add(reading("full", 0, 0, 50, 0))
	s.add(reading("killed", 0, 0, 50, 1))
	s.add(reading("killed", 0, 0, 50, 3))
	unlimited := reading("free", 0, 0, 0, 0)
	unlimited.GetResources().Memory.LimitBytes, unlimited.GetResources().Memory.Percent,
		unlimited.GetResources().Cpu = nil, nil, nil
	s.add(unlimited)
	once := reading("once", 7, 7, 0, 0)
	once.GetResources().Cpu.ThrottledPercent = n(100)
	s.add(once)
	want := []string{
		"memory: shop/killed (app): the kernel killed 2 processes for want of memory, at a limit of 64.0Mi",
		"memory: shop/full (app) was at 97% of its limit of 64.0Mi",
		"cpu: shop/once (app) stood still in 100% of the periods: its limit of 300m holds it back",
		"cpu: shop/held (app) stood still in 66% of the periods: its limit of 300m holds it back",
	}
	if got := s.summary(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for i := range 2 * maxContainers {
		s.add(reading(fmt.Sprint(i), 0, 0, 95, 0))
	}
	got := s.summary()
	if len(got) != maxFindings+2 || len(s.containers) != maxContainers {
		t.Errorf("%d lines of %d containers: %q", len(got), len(s.containers), got)
	}
}
