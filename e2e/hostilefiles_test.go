package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// maxTracerMemory bounds a tracer's peak memory; its limit is 256 MiB.
const maxTracerMemory = 192 << 20

// TestHostileFiles traces a pod next to pods whose files and processes try to block, to fill or to mislead the tracer.
func TestHostileFiles(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	node := e.Nodes[0]
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "files", Node: node, Args: []string{"hostilefiles"}},
		kit.PodSpec{Namespace: ns, Name: "impostor", Node: node, Args: []string{"hostilefiles", "-kubelet",
			"/tmp/kubelet", "-node", node}},
	)
	driver := fakes.BuildNVML(t)
	driver.Script(t, node, script(1, h100(0))...)
	fake := fakes.BuildCUDA(t)
	const image, mounted = "orb8.dev/e2e/cuda:dev", "/usr/lib/libcuda.so.1"
	if out, err := e.Cluster("load", fake.Image(t, image, nil)); err != nil {
		t.Fatalf("load %s: %v\n%s", image, err, out)
	}
	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "--cuda-library", fake.Library,
		"--interval", "300ms", "-o", "json")
	tr.AwaitStreaming(t, 1)
	quiet := &caller{name: "quiet", node: node, image: image, mounts: map[string]string{mounted: fake.Library},
		args: []string{mounted}}
	quiet.start(t, e, ns)
	tr.AwaitJQ(t, `[.[] | select(.type == "calls" and .pod == "quiet")] | last | .cuda as $calls
		| $want | keys | all($calls[.] == $want[.])`, "--argjson", "want", quiet.counts(t, true, false))
	// Events continue after the tracer has read all of the hostile files, and the kubelet's API, which it queries every
	// 2 s.
	tr.AwaitJQ(t, `[.[] | select(.type == "calls" and .pod == "quiet")] | length > 8`)
	for _, tracer := range e.Tracers(t) {
		for _, pid := range kit.PIDsOf(t, tracer.UID, "orb8-tracer") {
			if peak := peakMemory(t, pid); peak > maxTracerMemory {
				t.Errorf("the tracer %s took %d MiB", tracer.Name, peak>>20)
			} else {
				t.Logf("the tracer %s took %d MiB at most", tracer.Name, peak>>20)
			}
		}
		for _, s := range tracer.Status.ContainerStatuses {
			if s.RestartCount > 0 {
				t.Errorf("the tracer %s was restarted", tracer.Name)
			}
		}
	}
	tr.Stop(t)
	for _, p := range pods {
		now, err := e.Client.CoreV1().Pods(ns).Get(t.Context(), p.Name, metav1.GetOptions{})
		if err != nil || now.Status.Phase != corev1.PodRunning {
			t.Errorf("%s: %v, %v: the impostor ends when the tracer connects to it", p.Name, now.Status.Phase, err)
		}
	}
	if s := tr.Stderr(); !strings.Contains(s, "not a regular file") &&
		!strings.Contains(s, "libcuda.so.2 in "+ns+"/files") {
		t.Errorf("no message about the hostile files: %s", s)
	}
}

// peakMemory returns the peak resident memory of a process in bytes.
func peakMemory(t *testing.T, pid uint32) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		t.Fatalf("no VmHWM of process %d", pid)
	}
	kb, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
