package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// h100 returns the script lines of a GPU with all values. A line of more replaces the line with the same key.
func h100(index int, more ...string) []string {
	lines := []string{
		fmt.Sprintf("uuid GPU-%d", index), "name NVIDIA H100 80GB HBM3",
		fmt.Sprintf("pci 00000000:%02x:00.0", 0x17+index), "memory 85899345920 42949672960 536870912",
		"util 97 40", "gpm 1", "gpm.2 45.5", "gpm.3 30.25", "gpm.5 0", "gpm.10 12.5", "gpm.11 0", "gpm.12 3.5",
		"gpm.13 1", "gpm.20 100", "gpm.21 200", "gpm.60 1000", "gpm.61 2000",
		"power 350123", "limit 700000", "temperature 61", "clock.sm 1755", "clock.memory 2619", "throttle 4",
		"ecc.corrected 3", "ecc.uncorrected 0", "remapped 1",
	}
	for _, m := range more {
		key, _, _ := strings.Cut(m, " ")
		lines = append(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+" ") }), m)
	}
	for i, l := range lines {
		lines[i] = fmt.Sprintf("%d.%s", index, l)
	}
	return lines
}

// script returns the script of a fake driver: the number of devices, and the lines of each.
func script(devices int, more ...[]string) []string {
	return append([]string{fmt.Sprintf("devices %d", devices), "driver 580.95.05"}, slices.Concat(more...)...)
}

// TestGPU traces two nodes with a fake driver. All else is real: tracer, child process, dlopen, pods.
func TestGPU(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	other := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "trainer", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "idler", Node: e.Nodes[1]},
		kit.PodSpec{Namespace: other, Name: "stranger", Node: e.Nodes[0]},
	)
	pid := func(i int) uint32 {
		t.Helper()
		pids := pods[i].HostPIDs(t, "workload")
		if len(pids) != 1 {
			t.Fatalf("%s has the processes %v", pods[i].Name, pids)
		}
		return pids[0]
	}
	trainer, idler, stranger := pid(0), pid(1), pid(2)
	const stale = 4_000_000 // more than pid_max here
	driver := fakes.BuildNVML(t)
	first := func(more ...string) []string {
		return script(2,
			h100(0, append([]string{fmt.Sprintf("compute %d:1073741824 %d:2147483648 %d:1000", trainer, stranger,
				stale), fmt.Sprintf("utilization %d:80:30", trainer)}, more...)...),
			// The other GPU has no value but some that are impossible.
			[]string{"1.uuid GPU-1", "1.util 250 0", "1.memory 1000 2000 0"})
	}
	second := func(more ...string) []string {
		return script(1, h100(0, append([]string{fmt.Sprintf("compute %d:1073741824", idler)}, more...)...))
	}
	driver.Script(t, e.Nodes[0], first()...)
	driver.Script(t, e.Nodes[1], second("util 0 0")...)

	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "--interval", "300ms", "-o", "json")
	tr.AwaitStreaming(t, 2)
	tr.AwaitJQ(t, `[.[] | select(.type == "device" and .activity.smPercent != null) | .node] | unique | length == 2`)
	jq := func(t *testing.T, what, condition string, args ...string) {
		t.Helper()
		var ok bool
		if tr.JQ(t, &ok, condition, append([]string{"--arg", "one", e.Nodes[0], "--arg", "two", e.Nodes[1], "--arg",
			"ns", ns}, args...)...); !ok {
			t.Errorf("false: %s", what)
		}
	}

	t.Run("a device has the driver's values", func(t *testing.T) {
		jq(t, "the numbers are the script's",
			`any(.type == "device" and .node == $one and .gpu.uuid == "GPU-0" and .gpu.index == 0
			and .gpu.name == "NVIDIA H100 80GB HBM3" and .gpu.driver == "580.95.05"
				and .memory == {totalBytes: 85899345920, usedBytes: 42949672960, reservedBytes: 536870912}
			and .activity.gpuPercent == 97 and .activity.memoryPercent == 40 and .activity.smPercent == 45.5
				and .activity.occupancyPercent == 30.25 and .activity.tensorPercent == 0
			and .activity.dramPercent == 12.5 and .activity.pcieSentPerSecond == 100*1048576
				and .activity.nvlinkReceivedPerSecond == 1000*1048576
			and .health.powerMilliwatts == 350123 and .health.powerLimitMilliwatts == 700000
				and .health.temperatureCelsius == 61 and .health.throttle == "power-cap"
			and .health.eccCorrected == 3 and .health.eccUncorrected == 0 and .health.remappedRows == 1
				and .health.retiredPages == null and .periodMicros > 200000)`)
		jq(t, "its users, and the number of others' processes",
			`[.[] | select(.type == "device" and .node == $one and .gpu.index == 0)] | last
			| .usedBy == $ns + "/trainer/workload" and .processes == 3 and .ownProcesses == 1 and .pod == null
				and (.unavailable | contains("no such process"))`)
		jq(t, "an idle device that a process holds",
			`[.[] | select(.type == "device" and .node == $two)] | last
			| .activity.gpuPercent == 0 and .usedBy == $ns + "/idler/workload"`)
	})
	t.Run("unsupported values are null", func(t *testing.T) {
		jq(t, "only the driver's numbers",
			`[.[] | select(.type == "device" and .node == $one and .gpu.index == 1)] | length > 1 and all(
			{memory, activity, health, proc} | [paths(numbers) as $p | {($p | join(".")): getpath($p)}] | add
			== {"memory.totalBytes": 1000, "memory.reservedBytes": 0, "activity.memoryPercent": 0})`)
		jq(t, "the reason",
			`[.[] | select(.type == "device" and .node == $one and .gpu.index == 1)] | last | .unavailable
			| contains("not supported: ") and contains("the driver says 250, which cannot be: gpuPercent")`)
	})
	t.Run("processes have their pods", func(t *testing.T) {
		jq(t, "the trainer",
			`any(.type == "process" and .node == $one and .pod == "trainer" and .namespace == $ns
			and .container == "workload" and .proc.pid == ($pid | tonumber) and .proc.comm == "workload"
			and .proc.memoryBytes == 1073741824 and .proc.smPercent == 80 and .proc.memoryPercent == 30
			and .proc.type == "compute")`, "--arg", "pid", fmt.Sprint(trainer))
		jq(t, "unknown use is null", `any(.type == "process" and .pod == "idler" and .proc.smPercent == null)`)
		jq(t, "no process of another pod", `all(.type != "process" or .pod == "trainer" or .pod == "idler")`)
	})
	t.Run("an error, with the only pod on its device", func(t *testing.T) {
		driver.Script(t, e.Nodes[1], append(second(), "xid 1 0 31")...)
		tr.AwaitJQ(t,
			`any(.type == "xid" and .xid == 31 and .pod == "idler" and .gpu.uuid == "GPU-0"
			and (.message | contains("page fault")))`)
		driver.Script(t, e.Nodes[0], append(first(), "xid 1 0 79")...)
		tr.AwaitJQ(t,
			`any(.type == "xid" and .xid == 79 and .pod == null and (.usedBy | endswith("/trainer/workload")))`)
	})
	t.Run("a process ends and another starts", func(t *testing.T) {
		driver.Script(t, e.Nodes[1], script(1, h100(0))...)
		tr.AwaitJQ(t, `any(.type == "ended" and .pod == "idler")`)
		driver.Script(t, e.Nodes[1], second()...)
		tr.AwaitJQ(t, `any(.type == "started" and .pod == "idler")`)
	})
	t.Run("throttling changes", func(t *testing.T) {
		driver.Script(t, e.Nodes[1], second("throttle 0x40")...)
		tr.AwaitJQ(t,
			`any(.type == "throttle" and .message == "slowed down by hw-thermal, before by power-cap"
			and (.usedBy | contains("idler")))`)
		driver.Script(t, e.Nodes[1], second("throttle 1")...)
		tr.AwaitJQ(t,
			`any(.type == "throttle" and .message == "no longer slowed down by hw-thermal"
			and .health.throttle == "idle")`)
	})
	t.Run("MIG devices have their own processes", func(t *testing.T) {
		driver.Script(t, e.Nodes[1], script(1, h100(0, "mig 2"), []string{
			"0.0.uuid MIG-a", "0.0.name NVIDIA H100 80GB HBM3 MIG 1g.10gb", "0.0.instance 7 0",
			"0.0.memory 10737418240 1073741824 0", "0.0.gpm.2 88", fmt.Sprintf("0.0.compute %d:1073741824", idler),
			"0.1.uuid MIG-b", "0.1.instance 8 0", "0.1.memory 10737418240 0 0",
		})...)
		tr.AwaitJQ(t,
			`any(.type == "process" and .pod == "idler" and .gpu.uuid == "MIG-a" and .gpu.parent == "GPU-0"
			and .gpu.gpuInstance == 7)`)
		tr.AwaitJQ(t,
			`any(.type == "device" and .gpu.uuid == "MIG-a" and .activity.smPercent == 88
			and .activity.gpuPercent == null and .memory.totalBytes == 10737418240)`)
		tr.AwaitJQ(t,
			`any(.type == "device" and .gpu.uuid == "MIG-b" and .processes == null and .activity.smPercent == null)`)
		driver.Script(t, e.Nodes[1], second()...)
	})
	t.Run("a device falls off the bus and comes back", func(t *testing.T) {
		driver.Script(t, e.Nodes[1], second("handle !15")...)
		tr.AwaitJQ(t, `any(.type == "lost" and .gpu.uuid == "GPU-0" and (.message | contains("fallen off the bus")))`)
		driver.Script(t, e.Nodes[1], second()...)
		tr.AwaitJQ(t,
			`. as $all | ([range(length)] | map(select($all[.].type == "lost")) | last) as $at
			| any($all[$at:][]; .type == "device" and .node == $two)`, "--arg", "two", e.Nodes[1])
	})
	t.Run("the library crashes, then hangs; the other node continues", func(t *testing.T) {
		for _, test := range []struct{ value, message string }{
			{"crash", "the driver's library crashed in nvmlDeviceGetPowerUsage"},
			{"hang", "the driver did not return from nvmlDeviceGetPowerUsage for 5s"},
		} {
			driver.Script(t, e.Nodes[0], first("power "+test.value)...)
			tr.AwaitJQ(t, `any(.type == "unavailable" and .node == $node and (.message | contains($message)))`,
				"--arg", "node", e.Nodes[0], "--arg", "message", test.message)
			after := `. as $all
				| ([range(length)] | map(select($all[.].message // "" | contains($message))) | last) as $at
				| any($all[$at:][]; .type == "device" and .node == $node)`
			tr.AwaitJQ(t, after, "--arg", "node", e.Nodes[1], "--arg", "message", test.message)
			driver.Script(t, e.Nodes[0], first()...)
			tr.AwaitJQ(t, after, "--arg", "node", e.Nodes[0], "--arg", "message", test.message)
		}
	})
	tr.Stop(t)
	tr.CheckSchema(t)
	kit.AwaitNoProcess(t, "orb8-nvml", kit.CleanupTime)
}

// TestGPU_OldDriver reads a driver that lacks the newer half of the functions.
func TestGPU_OldDriver(t *testing.T) {
	t.Parallel()
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "idle", Node: e.Nodes[0]})
	driver := fakes.BuildNVML(t, fakes.OldDriver)
	driver.Script(t, e.Nodes[0], script(1, h100(0))...)
	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "-o", "json")
	tr.AwaitJQ(t, `[.[] | select(.type == "device")] | length >= 2`)
	var last struct {
		Memory   struct{ TotalBytes, ReservedBytes *uint64 }
		Activity struct {
			GPUPercent *uint64
			SmPercent  *float64
		}
		Health       struct{ Throttle *string }
		Unavailable  string
		UsedBy       *string
		OwnProcesses *uint64
	}
	tr.JQ(t, &last, `[.[] | select(.type == "device")] | last`)
	tr.Stop(t)
	if last.Memory.TotalBytes == nil || last.Memory.ReservedBytes != nil || last.Activity.GPUPercent == nil ||
		last.Activity.SmPercent != nil ||
		last.Health.Throttle == nil || *last.Health.Throttle != "power-cap" ||
		!strings.Contains(last.Unavailable, "the driver is older than this: memory.reservedBytes, gpm, pcie") {
		t.Errorf("%+v", last)
	}
	if last.UsedBy != nil || last.OwnProcesses != nil {
		t.Errorf("the driver reports no processes, but: %+v", last)
	}
}

// TestGPU_NoDriver reports the reason if there is no driver's library.
func TestGPU_NoDriver(t *testing.T) {
	t.Parallel()
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "plain", Node: e.Nodes[1]})
	for _, test := range []struct {
		message string
		args    []string
	}{
		{"no NVIDIA driver on this node", nil},
		{"--nvml-library /nowhere/libnvidia-ml.so.1: there is no such library",
			[]string{"--nvml-library", "/nowhere/libnvidia-ml.so.1"}},
	} {
		tr := e.Trace(t, append([]string{"trace", "gpu", "-n", ns, "-o", "json"}, test.args...)...)
		tr.AwaitJQ(t, `any(.type == "unavailable" and .node == $node and (.message | contains($message)))`,
			"--arg", "node", e.Nodes[1], "--arg", "message", test.message)
		tr.Stop(t)
	}
}

// TestDoctor_GPUs checks a node with a driver, and one whose driver fails to initialize.
func TestDoctor_GPUs(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	driver := fakes.BuildNVML(t)
	driver.Script(t, e.Nodes[0], script(2, h100(0), h100(1))...)
	driver.Script(t, e.Nodes[1], "init !9")
	before := e.Snapshot(t, false)
	cuda := fakes.BuildCUDA(t)
	findings, _, code := doctor(t, e, e.Kubeconfig, "-n", ns, "--gpu", "--nvml-library", driver.Library,
		"--cuda-library", cuda.Library)
	if f := findingOf(t, findings, e.Nodes[0], "gpu"); f.Status != "ok" ||
		f.Detail != "2 × NVIDIA H100 80GB HBM3; driver 580.95.05, by "+driver.Library {
		t.Errorf("%+v", f)
	}
	if f := findingOf(t, findings, e.Nodes[1], "gpu"); f.Status != "warning" ||
		!strings.Contains(f.Detail, "the driver is not loaded") {
		t.Errorf("%+v", f)
	} else {
		wantFix(t, f, "--privileged")
	}
	if f := findingOf(t, findings, e.Nodes[0], "capabilities"); !strings.Contains(f.Detail, "SYS_PTRACE") {
		t.Errorf("%+v", f)
	}
	if f := findingOf(t, findings, e.Nodes[0], "gpu calls"); f.Status != "ok" ||
		!regexp.MustCompile(`^[1-9]\d functions of `+cuda.Library+
			` are probed, \d+ of them single-stepped$`).MatchString(f.Detail) {
		t.Errorf("%+v", f)
	}
	if code != 0 {
		t.Errorf("exit code %d: a node without a GPU can still be traced", code)
	}
	findings, _, _ = doctor(t, e, e.Kubeconfig, "-n", ns, "--gpu", "--node", e.Nodes[0])
	if f := findingOf(t, findings, e.Nodes[0], "gpu"); f.Status != "ok" ||
		!strings.HasPrefix(f.Detail, "none to read: no NVIDIA driver on this node") {
		t.Errorf("%+v", f)
	}
	before.NothingLeft(t)
}

// TestTopGPU shows GPUs by device, by pod and by process, as tables and on a screen.
func TestTopGPU(t *testing.T) {
	t.Parallel()
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "trainer", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "idler", Node: e.Nodes[1]})
	driver := fakes.BuildNVML(t)
	driver.Script(t, e.Nodes[0], script(2, h100(0, fmt.Sprintf("compute %d:1000", pods[0].HostPIDs(t, "workload")[0])),
		h100(1, "util 0 0", "compute "))...)
	driver.Script(t, e.Nodes[1],
		script(1, []string{"0.uuid GPU-9", "0.util 0 0",
			fmt.Sprintf("0.compute %d:1000", pods[1].HostPIDs(t, "workload")[0])})...)
	flags := []string{"-n", ns, "--nvml-library", driver.Library, "--interval", "300ms"}

	tr := e.Trace(t, append([]string{"top", "gpu", "--once", "--window", "3s", "-o", "json"}, flags...)...)
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	tr.CheckSchema(t)
	var ok bool
	if tr.JQ(t, &ok, `map(select(.kind == "gpuTop")) | length == 3
		and (.[0] | .name == $one + "/0" and .gpuPercent == 97 and .smPercent == 45.5
			and .usedBy == $ns + "/trainer/workload" and .pod == "trainer" and .idleMicros == null
			and .powerMilliwatts == 350123)
		and any(.name == $one + "/1" and .gpuPercent == 0 and .usedBy == null and .ownProcesses == 0
			and .idleMicros == null)
		and any(.name == $two + "/0" and .gpuPercent == 0 and .usedBy == $ns + "/idler/workload"
			and .idleMicros > 1000000 and .smPercent == null and .powerMilliwatts == null
			and .memoryTotalBytes == null)`,
		"--arg", "one", e.Nodes[0], "--arg", "two", e.Nodes[1], "--arg", "ns", ns); !ok {
		var rows any
		tr.JQ(t, &rows, ".")
		t.Errorf("%v", rows)
	}

	tr = e.Trace(t, append([]string{"top", "gpu", "--once", "--window", "2s", "--group", "pod", "--sort-by=-idleMicros",
		"-o", "json"}, flags...)...)
	tr.Wait(t)
	if tr.JQ(t, &ok, `map(select(.kind == "gpuTop") | .name) == ["idler", "(free)", "trainer"]`); !ok {
		t.Errorf("by pod: %s", tr.Stderr())
	}

	tr = e.Trace(t, append([]string{"top", "gpu", "--once", "--window", "2s", "--group", "process", "-o", "json"},
		flags...)...)
	tr.Wait(t)
	tr.CheckSchema(t)
	if tr.JQ(t, &ok, `map(select(.kind == "gpuTop")) | length == 2
		and any(.pod == "trainer" and .pid == ($pid | tonumber) and .comm == "workload" and .memoryUsedBytes == 1000
			and .gpus == 1 and .gpuPercent == null and .powerMilliwatts == null)
		and any(.pod == "idler" and .node == $two)`, "--arg", "two", e.Nodes[1], "--arg", "pid",
		fmt.Sprint(pods[0].HostPIDs(t, "workload")[0])); !ok {
		var rows any
		tr.JQ(t, &rows, ".")
		t.Errorf("by process: %v", rows)
	}

	x := e.Terminal(t, 120, 30, append([]string{"top", "gpu"}, flags...)...)
	x.Await(t, "both nodes' GPUs", func(screen string) bool {
		return strings.Contains(screen, e.Nodes[0]+"/0") && strings.Contains(screen, e.Nodes[1]+"/0") &&
			strings.Contains(screen, "350W/700W") && strings.Contains(screen, "trainer/workload")
	})
	x.Type(t, "4")
	x.Await(t, "the idle GPU that a process holds", func(screen string) bool {
		return strings.Contains(screen, "1 of 3 GPUs is held and does nothing") &&
			strings.Contains(screen, "idler/workload")
	})
	// Open the processes of a GPU.
	x.Type(t, "2")
	x.Await(t, "the table", func(screen string) bool { return strings.Contains(screen, "350W/700W") })
	x.Type(t, "Enter")
	x.Await(t, "the process on it", func(screen string) bool {
		return strings.Contains(screen, "PROCESS") && strings.Contains(screen, "workload(")
	})
	x.Type(t, "q")
	if code := x.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
