package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// verdictRow holds fields of a gpuVerdict event.
type verdictRow struct {
	Pod, Verdict, Confidence, Missing string
	WindowMicros                      uint64
	Shares                            map[string]float64
	Evidence                          map[string]any
}

// TestWhyGPU diagnoses bottlenecks that show without calls of the driver. The GPUs' values are a fake driver's; the
// pods' use of CPU, disk and network is real.
func TestWhyGPU(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	one, two := e.Nodes[0], e.Nodes[1]
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "store", Node: one, Args: []string{"serve", "-quiet", "-tcp", ":8080"}})
	store := e.Service(t, ns, "store", "store", false, 8080, 8080)
	specs := []kit.PodSpec{
		{Name: "abandoned", Node: one},
		{Name: "compute", Node: one},
		{Name: "throttled", Node: one},
		{Name: "preparing", Node: one, CPU: "200m", Args: []string{"burn", "-ready", "-threads", "2", "-for", "10m"}},
		{Name: "fetching", Node: two, Args: []string{"app", "-server", store.String(), "-tcp", "8080", "-recv",
			"4000000", "-every", "200ms"}},
		{Name: "reading", Node: two, Args: []string{"disk", "-ready", "-count", "256", "-for", "10m"}},
		{Name: "waiting", Node: two},
		{Name: "sick", Node: two},
	}
	for i := range specs {
		specs[i].Namespace = ns
	}
	pods := e.Pods(t, append(slices.Clone(specs), kit.PodSpec{Namespace: ns, Name: "plain", Node: one})...)
	pod := func(name string) *kit.Pod {
		return pods[slices.IndexFunc(pods, func(p *kit.Pod) bool { return p.Name == name })]
	}
	pod("reading").SlowReads(t, 50)
	pid := func(name string) uint32 {
		t.Helper()
		p := pod(name)
		pids := p.HostPIDs(t, "workload")
		if len(pids) != 1 {
			t.Fatalf("%s has the processes %v", name, pids)
		}
		return pids[0]
	}
	compute := func(pod string) string { return fmt.Sprintf("compute %d:8589934592", pid(pod)) }
	idle := []string{"util 0 0", "gpm.2 0", "gpm.3 0", "gpm.5 0", "gpm.10 0", "power 120000", "throttle 0",
		"clock.sm 1980", "clock.max 1980"}
	gpu := func(index int, pod string, more ...string) []string {
		return h100(index, append([]string{"throttle 0", "clock.sm 1900", "clock.max 1980", compute(pod)}, more...)...)
	}
	driver := fakes.BuildNVML(t)
	driver.Script(t, one, script(4,
		gpu(0, "abandoned", idle...),
		gpu(1, "compute", "util 100 40", "gpm.2 90", "gpm.5 60", "gpm.10 20", "power 650000"),
		gpu(2, "throttled", "util 100 40", "gpm.2 90", "gpm.5 60", "gpm.10 20", "power 300000", "limit 300000",
			"throttle 4", "clock.sm 900"),
		gpu(3, "preparing", "util 12 5", "gpm.2 10", "gpm.5 6", "gpm.10 2", "power 160000"),
	)...)
	second := func(more ...[]string) []string {
		return script(4, append([][]string{
			gpu(0, "fetching", "util 25 10", "gpm.2 20", "gpm.5 12", "gpm.10 5", "power 200000"),
			gpu(1, "reading", "util 25 10", "gpm.2 20", "gpm.5 12", "gpm.10 5", "power 200000"),
			gpu(2, "waiting", "util 20 5", "gpm.2 16", "gpm.5 10", "gpm.10 4", "power 180000"),
			gpu(3, "sick", "util 100 40", "gpm.2 90", "gpm.5 60", "gpm.10 20", "power 650000"),
		}, more...)...)
	}
	driver.Script(t, two, second()...)
	flags := []string{"--nvml-library", driver.Library, "--interval", "500ms", "-n", ns}

	tr := e.Trace(t, append([]string{"why", "gpu", "--window", "12s", "-o", "json"}, flags...)...)
	tr.AwaitStderr(t, "watching for 12s")
	driver.Script(t, two, second([]string{"xid 1 3 94"})...)
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	tr.CheckSchema(t)
	var rows []verdictRow
	tr.JQ(t, &rows, `map(select(.kind == "gpuVerdict"))`)
	got := map[string]verdictRow{}
	for _, r := range rows {
		got[r.Pod] = r
	}
	for pod, want := range map[string]string{
		"abandoned": "abandoned", "compute": "compute", "throttled": "throttle", "preparing": "cpu",
		"fetching": "network", "reading": "storage", "waiting": "unknown", "sick": "sick",
	} {
		r := got[pod]
		if r.Verdict != want {
			t.Errorf("%s: %s with %s confidence, want %s: %v %v", pod, r.Verdict, r.Confidence, want, r.Shares,
				r.Evidence)
		}
		if r.WindowMicros < 8_000_000 || r.WindowMicros > 13_000_000 {
			t.Errorf("%s: a window of %d µs", pod, r.WindowMicros)
		}
		// Calls are not counted here, so they must be null.
		if r.Evidence["launchesPerSecond"] != nil || r.Evidence["syncPercent"] != nil {
			t.Errorf("%s: calls are not counted, but: %v", pod, r.Evidence)
		}
		if want != "sick" && want != "throttle" && want != "compute" && want != "network" && r.Confidence == "high" {
			t.Errorf("%s: %s with high confidence without calls", pod, r.Verdict)
		}
	}
	if x, _ := got["reading"].Evidence["ioPressurePercent"].(float64); x < 50 {
		t.Errorf("reading waits for I/O in %v%% of the time", x)
	}
	if len(got) != 8 {
		t.Errorf("%d pods have verdicts: %v", len(got), got)
	}
	if x := got["sick"].Evidence["xids"]; x != "94" {
		t.Errorf("XIDs of sick: %v", x)
	}
	if x, _ := got["preparing"].Evidence["cpuThrottledPercent"].(float64); x < 50 {
		t.Errorf("preparing was throttled in %v%% of the periods", x)
	}

	t.Run("as text, of one pod", func(t *testing.T) {
		tr := e.Trace(t, append([]string{"why", "gpu", "throttled", "plain", "--window", "5s"}, flags...)...)
		if code := tr.Wait(t); code != 0 {
			t.Fatalf("exit code %d: %s", code, tr.Stderr())
		}
		printed, err := os.ReadFile(tr.Output)
		if err != nil {
			t.Fatal(err)
		}
		out := string(printed)
		for _, want := range []string{
			`(?m)^throttled on ` + one + `, 1 GPU: consistent with clocks throttled by power or temperature$`,
			`(?m)^  confidence  \w+$`, `(?m)^  time +throttle \d+%`, `slowed down by power-cap`, `clock 45%`,
			`(?m)^  driver +calls are not counted$`, `(?m)^  host +CPU \d+m without a limit`,
			`(?m)^  network +received `, `(?m)^  window +[45]\S*s; nothing lost$`,
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if strings.Contains(out, "abandoned") || !strings.Contains(tr.Stderr(), "note: "+ns+"/plain has no GPU") {
			t.Errorf("%s\n%s", out, tr.Stderr())
		}
	})
	t.Run("a pod without a GPU", func(t *testing.T) {
		tr := e.Trace(t, append([]string{"why", "gpu", "plain", "--window", "5s"}, flags...)...)
		if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), "no GPU of these pods") ||
			!strings.Contains(tr.Stderr(), ns+"/plain (4 GPUs on "+one+")") {
			t.Errorf("exit code %d: %s", code, tr.Stderr())
		}
	})
	t.Run("nodes without a GPU", func(t *testing.T) {
		tr := e.Trace(t, "why", "gpu", "-n", ns, "--window", "5s")
		if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), "no GPU on the examined nodes: "+
			one+": no NVIDIA driver on this node") || !strings.Contains(tr.Stderr(), two+": no NVIDIA driver") {
			t.Errorf("exit code %d: %s", code, tr.Stderr())
		}
	})
	t.Run("no such pod", func(t *testing.T) {
		tr := e.Trace(t, append([]string{"why", "gpu", "nosuch"}, flags...)...)
		if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), `pod "nosuch" not found`) {
			t.Errorf("exit code %d: %s", code, tr.Stderr())
		}
	})
	kit.AwaitNoProcess(t, "orb8-nvml", kit.CleanupTime)
}

// TestWhyGPU_ByCalls diagnoses bottlenecks that show in the calls of the driver. The calls are real; their durations
// are a fake library's.
func TestWhyGPU_ByCalls(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	driver, fake := fakes.BuildNVML(t), fakes.BuildCUDA(t)
	const image = "orb8.dev/e2e/cuda:dev"
	if out, err := e.Cluster("load", fake.Image(t, image, nil)); err != nil {
		t.Fatalf("load %s: %v\n%s", image, err, out)
	}
	const library, nccl = "/usr/lib/libcuda.so.1", "/usr/lib/libnccl.so.2"
	one, two := e.Nodes[0], e.Nodes[1]
	// The commands define a step, the script the duration of its calls.
	callers := []*caller{
		{name: "copying", node: one, commands: []string{"train 20 400000000 0 0"},
			script: []string{"sleep cuMemcpyHtoD_v2 60000", "sleep cuStreamSynchronize 40000"}},
		{name: "launching", node: one, commands: []string{"train 12 0 0 2500"},
			script: []string{"sleep cuStreamSynchronize 1500"}},
		{name: "computing", node: one, commands: []string{"train 20 1000000 0 0"},
			script: []string{"sleep cuStreamSynchronize 95000"}},
		{name: "spinning", node: two, commands: []string{"train 10 0 4 0"},
			script: []string{"sleep cuStreamSynchronize 90000"}},
		{name: "streaming", node: two, commands: []string{"train 20 1000000 0 0"},
			script: []string{"sleep cuStreamSynchronize 95000"}},
		{name: "forgotten", node: two, commands: []string{"round 1", "await /tmp/end"}},
	}
	gpu := func(index int, c *caller, more ...string) []string {
		more = append(more, "throttle 0", "clock.sm 1900", "clock.max 1980", "gpm.20 20", "gpm.21 20",
			fmt.Sprintf("compute %d:8589934592", c.pid(t)))
		return h100(index, more...)
	}
	for _, c := range callers {
		c.image = image
		c.mounts = map[string]string{library: fake.Library, nccl: fake.NCCL}
		c.args = []string{"-nccl", nccl, library}
		c.start(t, e, ns)
	}
	driver.Script(t, one, script(3,
		gpu(0, callers[0], "util 40 20", "gpm.2 34", "gpm.5 20", "gpm.10 15", "gpm.21 4000", "power 250000"),
		gpu(1, callers[1], "util 55 10", "gpm.2 15", "gpm.5 3", "gpm.10 5", "power 220000"),
		gpu(2, callers[2], "util 99 40", "gpm.2 88", "gpm.5 60", "gpm.10 20", "power 600000"),
	)...)
	driver.Script(t, two, script(3,
		gpu(0, callers[3], "util 100 5", "gpm.2 15", "gpm.5 0", "gpm.10 3", "power 200000"),
		gpu(1, callers[4], "util 99 85", "gpm.2 84", "gpm.5 10", "gpm.10 80", "power 450000"),
		gpu(2, callers[5], "util 0 0", "gpm.2 0", "gpm.5 0", "gpm.10 0", "power 120000"),
	)...)
	kept := filepath.Join(t.TempDir(), "kept.orb8")
	tr := e.Trace(t, "why", "gpu", "--window", "12s", "--record", kept, "-o", "json", "--nvml-library", driver.Library,
		"--cuda-library", fake.Library, "--interval", "500ms", "-n", ns)
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	tr.CheckSchema(t)
	var rows []verdictRow
	tr.JQ(t, &rows, `map(select(.kind == "gpuVerdict"))`)
	want := map[string]string{"copying": "copy", "launching": "launch", "computing": "compute",
		"spinning": "collective", "streaming": "memory", "forgotten": "abandoned"}
	if len(rows) != len(want) {
		t.Errorf("%d verdicts: %v", len(rows), rows)
	}
	for _, r := range rows {
		// No evidence of the rules is missing.
		if r.Verdict != want[r.Pod] || r.Confidence == "low" || r.Missing != "" || r.Shares[r.Verdict] < 50 {
			t.Errorf("%s: %s with %s confidence (%s is missing), want %s: %v %v", r.Pod, r.Verdict, r.Confidence,
				r.Missing, want[r.Pod], r.Shares, r.Evidence)
		}
		if r.Confidence != "high" && r.Pod != "copying" && r.Pod != "launching" {
			t.Errorf("%s: %s with %s confidence: %v %v", r.Pod, r.Verdict, r.Confidence, r.Shares, r.Evidence)
		}
	}
	// The recording has the same verdicts, for its whole time.
	out, err := exec.Command("../bin/kubectl-orb8", "replay", kept, "--why", "gpu", "-o", "json").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var r verdictRow
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Verdict != want[r.Pod] {
			t.Errorf("replayed, %s: %s: %s", r.Pod, r.Verdict, line)
		}
		delete(want, r.Pod)
	}
	if len(want) > 0 {
		t.Errorf("replayed: no verdicts for %v: %s", want, out)
	}
}
