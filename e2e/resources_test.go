package e2e

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// resourcesEvent holds fields of a resources event.
type resourcesEvent struct {
	Pod, Container, Node string
	IntervalMicros       uint64
	CPU                  struct {
		Micros, Millis, LimitMillis, Periods, ThrottledPeriods, ThrottledMicros,
		ThrottledPercent, NodePercent *uint64
	}
	RunQueue struct{ Runs, DelayMicros, P50Nanos, P99Nanos *uint64 }
	Memory   struct{ Bytes, WorkingSetBytes, LimitBytes, Percent, PeakBytes, OomKills *uint64 }
	Pressure struct{ CPUSomeMicros, CPUSomePercent *uint64 }
	Network  struct{ ListenOverflows *uint64 }
	IO       struct{ ReadRequests, ReadBytes, ReadMicros, ReadP99Nanos, WriteRequests, WriteBytes *uint64 }
}

// TestResources makes pods use known resources, and compares their events with these.
func TestResources(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	const held = 48 << 20
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "limited", Node: e.Nodes[0], CPU: "100m", Memory: "64Mi"},
		kit.PodSpec{Namespace: ns, Name: "free", Node: e.Nodes[1]},
		kit.PodSpec{Namespace: ns, Name: "full", Node: e.Nodes[1], Memory: "64Mi",
			Args: []string{"hold", "-bytes", fmt.Sprint(held)}},
	)
	limited, free := pods[0], pods[1]
	free.Exec(t, "disk", "-count", "1") // load the program into the page cache
	tr := e.Trace(t, "trace", "resources", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)
	tr.AwaitJQ(t, `map(select(.kind == "resources") | .pod) | unique | length == 3`)

	burnt := limited.Exec(t, "burn", "-for", "4s")[0]
	waited := free.Exec(t, "burn", "-threads", "2", "-pin", "-for", "3s")[0]
	disk := free.Exec(t, "disk", "-count", "1000")[0]
	tr.Stop(t)
	tr.CheckSchema(t)
	// The container is idle, so its throttling counters do not change.
	stat := limited.CPUStat(t)

	of := func(pod string) (events []resourcesEvent) {
		t.Helper()
		tr.JQ(t, &events, `map(select(.kind == "resources" and .pod == $pod))`, "--arg", "pod", pod)
		if len(events) < 3 {
			t.Fatalf("%d events of %s", len(events), pod)
		}
		for _, ev := range events {
			if ev.Container != "workload" || ev.IntervalMicros == 0 || ev.CPU.Micros == nil || ev.CPU.Millis == nil ||
				ev.RunQueue.Runs == nil || ev.Memory.Bytes == nil || ev.Memory.OomKills == nil {
				t.Fatalf("%+v", ev)
			}
		}
		return events
	}
	// within checks that got differs from want by at most percent.
	within := func(what string, got, want uint64, percent uint64) {
		t.Helper()
		if got*100 < want*(100-percent) || got*100 > want*(100+percent) {
			t.Errorf("%s: %d, want %d ± %d %%", what, got, want, percent)
		}
	}
	grown := func(events []resourcesEvent, get func(*resourcesEvent) *uint64) uint64 {
		t.Helper()
		first, last := get(&events[0]), get(&events[len(events)-1])
		if first == nil || last == nil {
			t.Fatalf("null: %+v", events[0])
		}
		return *last - *first
	}
	most := func(events []resourcesEvent, get func(*resourcesEvent) *uint64) (n uint64) {
		for i := range events {
			if v := get(&events[i]); v != nil {
				n = max(n, *v)
			}
		}
		return n
	}
	// A thread of the pod has used a CPU for seconds: so much of all of them was busy at the least.
	if n := most(of("free"), func(r *resourcesEvent) *uint64 { return r.CPU.NodePercent }); n > 100 ||
		n < uint64(80/runtime.NumCPU()) {
		t.Errorf("the node's CPUs were busy for %d %%", n)
	}

	for _, r := range of("free") {
		if n := r.Network.ListenOverflows; n == nil || *n != 0 {
			t.Errorf("overflows of accept queues in a pod without a listener: %v", n)
		}
	}

	t.Run("a CPU limit", func(t *testing.T) {
		events := of("limited")
		// The sum includes the process of kubectl exec.
		within("CPU time, µs", grown(events, func(r *resourcesEvent) *uint64 { return r.CPU.Micros }),
			burnt.UsedNs/1000, 15)
		within("the limit, in thousandths", *events[0].CPU.LimitMillis, 100, 0)
		within("the most in an interval, in thousandths",
			most(events, func(r *resourcesEvent) *uint64 { return r.CPU.Millis }), 100, 30)
		last := events[len(events)-1].CPU
		if *last.ThrottledPeriods != stat["nr_throttled"] || *last.ThrottledMicros != stat["throttled_usec"] ||
			*last.Periods > stat["nr_periods"] || stat["nr_throttled"] == 0 {
			t.Errorf("throttled in %d of %d periods, for %d µs; cpu.stat has %v", *last.ThrottledPeriods,
				*last.Periods, *last.ThrottledMicros, stat)
		}
		// 4 s are 40 periods of 100 ms. In some, other pods may leave it less CPU than its limit.
		if n := most(events, func(r *resourcesEvent) *uint64 { return r.CPU.ThrottledPercent }); n < 50 {
			t.Errorf("throttled in at most %d %% of the periods", n)
		}
	})
	t.Run("two threads on a CPU", func(t *testing.T) {
		events := of("free")
		if events[0].CPU.LimitMillis != nil || events[0].Memory.LimitBytes != nil || events[0].Memory.Percent != nil {
			t.Errorf("limits without a limit in the spec: %+v", events[0])
		}
		// What kubectl exec starts in the container waits, too: longer on a busy machine.
		within("waits for a CPU, µs",
			grown(events, func(r *resourcesEvent) *uint64 { return r.RunQueue.DelayMicros }), waited.WaitedNs/1000, 25)
		if n := most(events, func(r *resourcesEvent) *uint64 { return r.RunQueue.P99Nanos }); n < 1_000_000 {
			t.Errorf("the longest of them took %d ns", n)
		}
		if ev := events[0]; ev.Pressure.CPUSomeMicros != nil {
			// One of the two threads always waits, except for the kernel's delays.
			within("pressure on the CPU, %",
				most(events, func(r *resourcesEvent) *uint64 { return r.Pressure.CPUSomePercent }), 100, 25)
		}
	})
	t.Run("a disk", func(t *testing.T) {
		events := of("free")
		reads := func(r *resourcesEvent) *uint64 { return r.IO.ReadRequests }
		// Pages of the program may be read as well. A request ends in an interrupt, in the context of any task, and
		// some kernels run no BPF programs in some tasks (such as security monitors inside a virtual machine), without
		// counting a miss.
		within("reads", grown(events, reads), 1000, 10)
		within("bytes read", grown(events, func(r *resourcesEvent) *uint64 { return r.IO.ReadBytes }),
			disk.BytesReceived, 10)
		within("writes", grown(events, func(r *resourcesEvent) *uint64 { return r.IO.WriteRequests }), 1000, 10)
		if n := grown(events, func(r *resourcesEvent) *uint64 { return r.IO.ReadMicros }); n == 0 || n > disk.WaitedNs/
			1000*11/10 {
			t.Errorf("reads took %d µs, the program waited %d µs for them", n, disk.WaitedNs/1000)
		}
	})
	t.Run("memory", func(t *testing.T) {
		events := of("full")
		last := events[len(events)-1]
		within("the limit", *last.Memory.LimitBytes, 64<<20, 0)
		if n := *last.Memory.WorkingSetBytes; n < held || n > 64<<20 {
			t.Errorf("a working set of %d", n)
		}
		within("percent", *last.Memory.Percent, *last.Memory.WorkingSetBytes*100/(64<<20), 3)
		if *last.Memory.OomKills != 0 || last.Memory.PeakBytes == nil || *last.Memory.PeakBytes < held {
			t.Errorf("%+v", last.Memory)
		}
		if n := grown(events, func(r *resourcesEvent) *uint64 { return r.CPU.Micros }); n > 500_000 {
			t.Errorf("an idle pod used %d µs of a CPU", n)
		}
	})
}
