package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestAdviseResources applies the advice for a container whose CPU limit holds it back.
func TestAdviseResources(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	e.Deployment(t, ns, "web", 1, "idle")
	pod := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "busy", Node: e.Nodes[0], CPU: "100m", Memory: "64Mi"})[0]
	burn := pod.Start(t, "burn", "-threads", "1", "-for", "8s")
	tr := e.Trace(t, "advise", "resources", "-n", ns, "--duration", "6s", "-o", "json")
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	t.Log(tr.Stderr())
	burn.Wait(t)
	type amounts struct{ RequestCPUMillis, LimitCPUMillis, RequestMemoryBytes, LimitMemoryBytes *uint64 }
	var got []struct {
		Workload       string
		Today, Advised amounts
		Observed       struct{ P95CPUMillis, ThrottledPercent, PeakWorkingSetBytes *uint64 }
	}
	tr.JQ(t, &got, `sort_by(.workload)`)
	if len(got) != 2 || got[0].Workload != "deploy/web" || got[1].Workload != "pod/busy" {
		t.Fatalf("%+v", got)
	}
	web, busy := got[0], got[1]
	if web.Advised.LimitCPUMillis != nil || web.Today.LimitCPUMillis != nil || web.Advised.RequestCPUMillis == nil {
		t.Errorf("%+v, want a request, and no CPU limit where there is none", web)
	}
	if o := busy.Observed; o.P95CPUMillis == nil || *o.P95CPUMillis < 80 || o.ThrottledPercent == nil ||
		*o.ThrottledPercent < 50 || *busy.Today.LimitCPUMillis != 100 || *busy.Advised.LimitCPUMillis < 200 ||
		*busy.Advised.LimitMemoryBytes <= *o.PeakWorkingSetBytes {
		t.Errorf("%+v, want its CPU limit doubled", busy)
	}

	patch := filepath.Join(t.TempDir(), "patch.yaml")
	tr = e.Trace(t, "advise", "resources", "deploy/web", "-n", ns, "--duration", "3s")
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	t.Log(tr.Stdout(t))
	if err := os.WriteFile(patch, []byte(tr.Stdout(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	shell := e.Shell(t, t.TempDir(), "kubectl patch deploy/web -n "+ns+" --patch-file "+patch+
		" && kubectl rollout status deploy/web -n "+ns+" --timeout=30s")
	if code := shell.Wait(t); code != 0 {
		t.Errorf("exit code %d: %s", code, shell.Output())
	}
}
