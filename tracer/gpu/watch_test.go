//go:build linux

package gpu

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// harness is a watch on files of processes and containers.
type harness struct {
	*testing.T
	*watch
	proc, cgroups string
	clock         time.Time
	list          []Container
	// lists counts the calls that list the containers.
	lists int
	got   []string
}

func newHarness(t *testing.T) *harness {
	b := &harness{T: t, proc: t.TempDir(), cgroups: t.TempDir(), clock: time.Unix(1, 0)}
	b.watch = newWatch(newOwners(b.proc, func() []Container { b.lists++; return b.list }),
		func(cgroup uint64, ev *event.Event) {
			g := ev.GetGpu()
			b.got = append(b.got, strings.TrimSpace(fmt.Sprintf("%s %d %d %s %s%s", g.GetType().Word(), cgroup,
				g.GetProc().GetPid(), g.GetUsedBy(), g.GetMessage(), g.GetProc().GetComm())))
		})
	b.now = func() time.Time { return b.clock }
	return b
}

// process creates the files of a process with a start time, in the container of a cgroup; 0: in none.
func (b *harness) process(pid, started int, comm string, cgroup uint64) {
	b.Helper()
	write(b, fmt.Sprintf("%s/%d/stat", b.proc, pid),
		fmt.Sprintf("%d (%s) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %d 20\n", pid, comm, started))
	write(b, fmt.Sprintf("%s/%d/comm", b.proc, pid), comm+"\n")
	if cgroup == 0 {
		return
	}
	dir := fmt.Sprintf("%s/%d", b.cgroups, cgroup)
	if !slices.ContainsFunc(b.list, func(c Container) bool { return c.Cgroup == cgroup }) {
		b.list = append(b.list, Container{Cgroup: cgroup, Dir: dir, Name: fmt.Sprintf("ns/pod-%d/main", cgroup)})
	}
	write(b, dir+"/nested/cgroup.procs", fmt.Sprintln(pid))
}

// read passes one sample of a device with these processes, and returns the reports.
func (b *harness) read(throttle string, pids ...int) []string {
	id := &event.GpuDevice{Uuid: "GPU-0"}
	for _, pid := range pids {
		b.onEvent(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: id,
			Proc: &event.GpuProcess{Pid: uint32(pid)}})
	}
	n := uint32(len(pids))
	b.onEvent(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: id, Processes: &n,
		Health: &event.GpuHealth{Throttle: throttle}})
	return b.drainReports()
}

func (b *harness) drainReports() []string {
	got := b.got
	b.got = nil
	return got
}

func (b *harness) expect(got []string, want ...string) {
	b.Helper()
	if !slices.Equal(got, want) {
		b.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWatch_NamesProcessesOfContainers(t *testing.T) {
	b := newHarness(t)
	b.process(10, 100, "train", 7)
	b.process(11, 100, "other", 0)
	b.expect(b.read("none", 10, 11, 12), "process 7 10  train", "device 0 0 ns/pod-7/main")
	b.expect(b.read("none", 10, 11, 12), "process 7 10  train", "device 0 0 ns/pod-7/main")
	if b.lists != 2 {
		t.Errorf("containers were listed %d times", b.lists)
	}
	b.process(13, 100, "late", 8)
	b.expect(b.read("none", 10, 13), "started 8 13  late", "process 7 10  train", "process 8 13  late",
		"device 0 0 ns/pod-7/main,ns/pod-8/main")
	b.expect(b.read("none", 13), "ended 7 10  train", "process 8 13  late", "device 0 0 ns/pod-8/main")
}

func TestWatch_ReusedPIDIsNewProcess(t *testing.T) {
	b := newHarness(t)
	b.process(10, 100, "first", 7)
	b.read("none", 10)
	write(t, b.cgroups+"/7/nested/cgroup.procs", "")
	b.process(10, 200, "second", 8)
	b.expect(b.read("none", 10), "ended 7 10  first", "started 8 10  second", "process 8 10  second",
		"device 0 0 ns/pod-8/main")
}

func TestWatch_StaleProcessHasNoContainer(t *testing.T) {
	b := newHarness(t)
	var last *event.Gpu
	b.sink = func(_ uint64, ev *event.Event) { last = ev.GetGpu() }
	b.read("none", 99)
	if last.GetOwnProcesses() != 0 || last.OwnProcesses == nil || last.GetProcesses() != 1 ||
		!strings.Contains(last.GetUnavailable(), "no such process") {
		t.Errorf("%v", last)
	}
}

func TestWatch_ReportsThrottleChanges(t *testing.T) {
	b := newHarness(t)
	device := "device 0 0"
	b.expect(b.read("idle"), device)
	b.expect(b.read("idle,power-cap"), device, "throttle 0 0  slowed down by power-cap")
	b.expect(b.read("power-cap"), device)
	b.expect(b.read(""), device) // unknown once
	b.expect(b.read("hw-thermal,app-clocks"), device, "throttle 0 0  slowed down by hw-thermal, before by power-cap")
	b.expect(b.read("none"), device, "throttle 0 0  no longer slowed down by hw-thermal")
}

func TestWatch_XIDBelongsToOnlyPod(t *testing.T) {
	b := newHarness(t)
	b.process(10, 100, "train", 7)
	b.process(11, 100, "other", 0)
	xid := func() []string {
		b.onEvent(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_XID, Gpu: &event.GpuDevice{Uuid: "GPU-0"},
			Message: "XID 31"})
		return b.drainReports()
	}
	b.expect(xid(), "xid 0 0  XID 31") // before the first sample
	b.read("none", 10)
	b.expect(xid(), "xid 7 0 ns/pod-7/main XID 31")
	b.read("none") // the process died of the error before it arrives
	b.expect(xid(), "xid 7 0 ns/pod-7/main XID 31")
	b.read("none", 10, 11)
	b.expect(xid(), "xid 0 0 ns/pod-7/main XID 31")
	b.read("none")
	b.clock = b.clock.Add(time.Minute)
	b.expect(xid(), "xid 0 0  XID 31")
}

func TestWatch_ReportsUnavailableOnce(t *testing.T) {
	b := newHarness(t)
	for range 3 {
		b.unavailable("no driver")
	}
	b.onEvent(nil)
	b.expect(b.drainReports(), "unavailable 0 0  no driver")
	b.unavailable("another")
	b.expect(b.drainReports(), "unavailable 0 0  another")
	b.read("none")
	b.unavailable("another")
	b.expect(b.drainReports(), "unavailable 0 0  another")
}
