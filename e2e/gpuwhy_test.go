package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestWhyGPU has pods with bottlenecks that need no calls of the driver to be seen: what the GPUs do is a fake driver's word, what pods do on
// processors, disks and the network is real.
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
		{Name: "fetching", Node: two, Args: []string{"app", "-server", store.String(), "-tcp", "8080", "-recv", "4000000", "-every", "200ms"}},
		{Name: "reading", Node: two, Args: []string{"disk", "-ready", "-count", "2000000"}},
		{Name: "waiting", Node: two},
		{Name: "sick", Node: two},
	}
	for i := range specs {
		specs[i].Namespace = ns
	}
	pods := e.Pods(t, append(slices.Clone(specs), kit.PodSpec{Namespace: ns, Name: "plain", Node: one})...)
	pid := func(name string) uint32 {
		t.Helper()
		p := pods[slices.IndexFunc(pods, func(p *kit.Pod) bool { return p.Name == name })]
		pids := p.HostPIDs(t, "workload")
		if len(pids) != 1 {
			t.Fatalf("%s has the processes %v", name, pids)
		}
		return pids[0]
	}
	compute := func(pod string) string { return fmt.Sprintf("compute %d:8589934592", pid(pod)) }
	idle := []string{"util 0 0", "gpm.2 0", "gpm.3 0", "gpm.5 0", "gpm.10 0", "power 120000", "throttle 0", "clock.sm 1980", "clock.max 1980"}
	gpu := func(index int, pod string, more ...string) []string {
		return h100(index, append([]string{"throttle 0", "clock.sm 1900", "clock.max 1980", compute(pod)}, more...)...)
	}
	driver := fakes.BuildNVML(t)
	driver.Script(t, one, script(4,
		gpu(0, "abandoned", idle...),
		gpu(1, "compute", "util 100 40", "gpm.2 90", "gpm.5 60", "gpm.10 20", "power 650000"),
		gpu(2, "throttled", "util 100 40", "gpm.2 90", "gpm.5 60", "gpm.10 20", "power 300000", "limit 300000", "throttle 4", "clock.sm 900"),
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
	type row struct {
		Pod, Verdict, Confidence, Missing string
		WindowMicros                      uint64
		Shares                            map[string]float64
		Evidence                          map[string]any
	}
	var rows []row
	tr.JQ(t, &rows, `map(select(.kind == "gpuVerdict"))`)
	got := map[string]row{}
	for _, r := range rows {
		got[r.Pod] = r
	}
	for pod, want := range map[string]string{
		"abandoned": "abandoned", "compute": "compute", "throttled": "throttle", "preparing": "cpu", "fetching": "network", "waiting": "unknown", "sick": "sick",
	} {
		r := got[pod]
		if r.Verdict != want {
			t.Errorf("%s: %s with %s confidence, want %s: %v %v", pod, r.Verdict, r.Confidence, want, r.Shares, r.Evidence)
		}
		if r.WindowMicros < 8_000_000 || r.WindowMicros > 13_000_000 {
			t.Errorf("%s was watched for %d µs", pod, r.WindowMicros)
		}
		// Calls are not counted here: that is known not to be known.
		if r.Evidence["launchesPerSecond"] != nil || r.Evidence["syncPercent"] != nil {
			t.Errorf("%s: calls are not counted, and yet: %v", pod, r.Evidence)
		}
		if want != "sick" && want != "throttle" && want != "compute" && want != "network" && r.Confidence == "high" {
			t.Errorf("%s: without calls, %s is said with high confidence", pod, r.Verdict)
		}
	}
	// On this machine a disk is as fast as the processors that ask it: who reads from it waits for both, and which one more is the day's.
	if r := got["reading"]; r.Verdict != "storage" && r.Verdict != "cpu" {
		t.Errorf("reading: %s: %v %v", r.Verdict, r.Shares, r.Evidence)
	}
	if x, _ := got["reading"].Evidence["ioPressurePercent"].(float64); x <= 0 || got["reading"].Shares["storage"] <= 0 {
		t.Errorf("reading waits for I/O in %v%% of the time, and storage has a share of %v", x, got["reading"].Shares["storage"])
	}
	if len(got) != 8 {
		t.Errorf("%d pods have verdicts: %v", len(got), got)
	}
	if x := got["sick"].Evidence["xids"]; x != "94" {
		t.Errorf("XIDs of sick: %v", x)
	}
	if x, _ := got["preparing"].Evidence["cpuThrottledPercent"].(float64); x < 50 {
		t.Errorf("preparing was held back in %v%%", x)
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
			`(?m)^throttled on ` + one + `, 1 GPU: consistent with clocks that power or heat keeps down$`, `(?m)^  confidence  \w+$`, `(?m)^  time +throttle \d+%`, `slowed down by power-cap`, `clock 45%`,
			`(?m)^  driver +calls are not counted$`, `(?m)^  host +CPU \d+m without a limit`, `(?m)^  network +received `, `(?m)^  window +[45]\S*s; nothing lost$`,
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
		if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), "no GPU of these pods") || !strings.Contains(tr.Stderr(), ns+"/plain (4 GPUs on "+one+")") {
			t.Errorf("exit code %d: %s", code, tr.Stderr())
		}
	})
	t.Run("nodes without a GPU", func(t *testing.T) {
		tr := e.Trace(t, "why", "gpu", "-n", ns, "--window", "5s")
		if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), "no GPU on the nodes that were looked at: "+one+": no NVIDIA driver on this node") || !strings.Contains(tr.Stderr(), two+": no NVIDIA driver") {
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
