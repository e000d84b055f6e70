package resources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestSharesAreOfTheInterval(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	before := usage{
		cpuNs: n(1e9), periods: n(100), throttled: n(50), throttledNs: n(5e9), memory: n(1), cpuSome: n(1e6),
		ioSome: n(5e6), ioFull: nil,
	}
	now := usage{
		cpuNs: n(1.5e9), periods: n(120), throttled: n(65), throttledNs: n(6e9), cpuLimitMilli: n(250), memory: n(90),
		workingSet: n(60), memoryLimit: n(80), peak: n(95),
		oomKills: n(0), cpuSome: n(1_500_000), ioSome: n(4_999_990), ioFull: n(7),
	}
	k := &watched{id: "x", usage: before, block: 1}
	k.waits.runs, k.waits.ns, k.waits.buckets[3] = 10, 1000, 10
	k.waits.samples, k.waits.forLocks, k.lockMicros = 100, 7, 500
	k.io.Ways[0].Requests, k.io.Ways[0].Buckets[5] = 4, 4
	d, io := k.waits, k.io
	d.runs, d.ns, d.buckets[4] = 30, 50_000, 20
	d.samples, d.forLocks = 110, 22
	io.Ways[0].Requests, io.Ways[0].Bytes, io.Ways[0].Ns, io.Ways[0].DeviceNs, io.Ways[0].Buckets[6] = 5, 4096, 7_000,
		3_000, 1
	w := &watcher{}
	w.fill(k, 2e9, &now, &d, &io)
	want := &event.Resources{
		Id: "x", IntervalMicros: n(2e6),
		Cpu: &event.ResourcesCPU{
			Micros: n(1.5e6), Millis: n(250), LimitMillis: n(250), Periods: n(120), ThrottledPeriods: n(65),
			ThrottledMicros: n(6e6), ThrottledPercent: n(75),
		},
		// All 20 of the interval are from 1024 to 2048 ns.
		RunQueue: &event.ResourcesRunQueue{Runs: n(30), DelayMicros: n(50), P50Nanos: n(1510), P95Nanos: n(1971),
			P99Nanos: n(2022)},
		Locks: &event.ResourcesLocks{WaitedMicros: n(3_000_500), Waiters: proto.Float64(1.5)},
		Memory: &event.ResourcesMemory{Bytes: n(90), WorkingSetBytes: n(60), LimitBytes: n(80), Percent: n(75),
			PeakBytes: n(95), OomKills: n(0)},
		Pressure: &event.ResourcesPressure{CpuSomeMicros: n(1_500_000), CpuSomePercent: n(25),
			IoSomeMicros: n(4_999_990), IoSomePercent: n(0), IoFullMicros: n(7)},
		Io: &event.ResourcesIO{
			ReadRequests: n(5), ReadBytes: n(4096), ReadMicros: n(7), ReadDeviceMicros: n(3), ReadP50Nanos: n(6144),
			ReadP99Nanos:  n(6144),
			WriteRequests: n(0), WriteBytes: n(0), WriteMicros: n(0), WriteDeviceMicros: n(0),
		},
	}
	if diff := cmp.Diff(want, &w.r, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// What nobody tells is not 0.
	w.fill(&watched{id: "x"}, 1e9, &usage{}, &waits{}, &objectBlockIo{})
	want = &event.Resources{
		Id: "x", IntervalMicros: n(1e6), Cpu: &event.ResourcesCPU{}, RunQueue: &event.ResourcesRunQueue{Runs: n(0),
			DelayMicros: n(0)},
		Memory: &event.ResourcesMemory{}, Pressure: &event.ResourcesPressure{},
	}
	if diff := cmp.Diff(want, &w.r, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
