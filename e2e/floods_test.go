package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// tracerLimit is the memory limit of a tracer's container.
const tracerLimit = 256 << 20

// rss reads the pid of a tracer pod's process, its resident memory and the peak of that, in bytes.
func rss(t *testing.T, uid types.UID) (pid uint32, now, peak uint64) {
	t.Helper()
	pids := kit.PIDsOf(t, uid, "orb8-tracer")
	if len(pids) != 1 {
		t.Fatalf("%d processes of the tracer, want 1", len(pids))
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(pids[0])), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseUint(fields[1], 10, 64) // kB; other lines have words
		switch fields[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return pids[0], now, peak
}

// TestFlood_OfDNSOverTCPSparesTheTracer traces a pod that sends incomplete DNS messages and a quiet pod. Without a
// budget the tracer would keep all of the former and be OOM-killed.
func TestFlood_OfDNSOverTCPSparesTheTracer(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "hostile", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "quiet", Node: e.Nodes[0]})
	hostile, quiet := pods[0], pods[1]
	tr := e.Trace(t, "trace", "dns", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 1)
	tracers := e.Tracers(t)
	if len(tracers) != 1 {
		t.Fatalf("%d tracers, want 1", len(tracers))
	}
	uid := tracers[0].UID
	before, _, _ := rss(t, uid)

	running := hostile.Start(t, "stall", "-conns", "4000", "-for", "12s")
	tr.AwaitJQ(t, `any(.kind == "lost" and .source == "dns" and .pod == "hostile")`)
	quiet.Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-count", "3")
	running.Wait(t)
	tr.AwaitJQ(t, `any(.kind == "dns" and .src.pod == "quiet")`)

	after, now, peak := rss(t, uid)
	t.Logf("RSS %d MiB, peak %d MiB, of %d MiB", now>>20, peak>>20, tracerLimit>>20)
	if before != after {
		t.Errorf("the tracer is process %d, was %d", after, before)
	}
	if peak > tracerLimit*3/4 {
		t.Errorf("the tracer took %d MiB, want at most three quarters of %d", peak>>20, tracerLimit>>20)
	}
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, 20*time.Second, true,
		func(context.Context) (bool, error) {
			return len(e.Tracers(t)) == 1 && e.Tracers(t)[0].UID == uid, nil
		})
	if err != nil {
		t.Errorf("the tracer's pod is not the same: %v", err)
	}
	tr.Stop(t)
	tr.CheckSchema(t)
}
