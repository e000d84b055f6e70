package event

import "testing"

func TestGpu_HeldIdle(t *testing.T) {
	n := func(n uint32) *uint32 { return &n }
	f := func(f float64) *float64 { return &f }
	for what, test := range map[string]struct {
		g    *Gpu
		want bool
	}{
		"a process, nothing runs": {&Gpu{Activity: &GpuActivity{GpuPercent: n(0)},
			OwnProcesses: n(1)}, true},
		"a process, SMs do nothing": {&Gpu{Activity: &GpuActivity{SmPercent: f(0)},
			OwnProcesses: n(1)}, true},
		"a process, something runs": {&Gpu{Activity: &GpuActivity{GpuPercent: n(1), SmPercent: f(0)},
			OwnProcesses: n(1)}, false},
		"a process, activity not known": {&Gpu{OwnProcesses: n(1)}, false},
		"nobody's": {&Gpu{Activity: &GpuActivity{GpuPercent: n(0)},
			OwnProcesses: n(0)}, false},
		"given, no process": {&Gpu{Activity: &GpuActivity{GpuPercent: n(0)},
			AllocatedTo: "a/b/c", Processes: n(0), OwnProcesses: n(0)}, true},
		"given, no process, activity not known": {&Gpu{AllocatedTo: "a/b/c", Processes: n(0),
			OwnProcesses: n(0)}, true},
		"given, another's process, activity not known": {&Gpu{AllocatedTo: "a/b/c", Processes: n(1),
			OwnProcesses: n(0)}, false},
		"given, another's process that does nothing": {&Gpu{Activity: &GpuActivity{GpuPercent: n(0)},
			AllocatedTo: "a/b/c", Processes: n(1), OwnProcesses: n(0)}, true},
		"given, a process that has just ended": {&Gpu{Activity: &GpuActivity{GpuPercent: n(40)},
			AllocatedTo: "a/b/c", Processes: n(0), OwnProcesses: n(0)}, false},
		"given, neither processes nor activity known": {&Gpu{AllocatedTo: "a/b/c"}, false},
		"given to another": {&Gpu{Activity: &GpuActivity{GpuPercent: n(0)}, Allocated: n(1),
			Processes: n(0), OwnProcesses: n(0)}, false},
		"an activity of which neither number is known": {&Gpu{Activity: &GpuActivity{DramPercent: f(0)},
			OwnProcesses: n(1)}, false},
	} {
		if got := test.g.HeldIdle(); got != test.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
