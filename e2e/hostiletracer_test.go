package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// peakRSS returns the peak resident memory of a process in bytes.
func peakRSS(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb << 10
}

// TestHostileTracer_IsBounded runs a hostile program as the tracer, by its image. The viewer shows its valid events and
// counts all others as lost; its memory and its messages stay bounded.
func TestHostileTracer_IsBounded(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0]})
	hostile := []string{"trace", "gpu", "-n", ns, "--image", kit.WorkloadImage, "--image-pull-policy", "Never", "-o",
		"json"}

	t.Run("events", func(t *testing.T) {
		tr := e.Trace(t, hostile...)
		tr.AwaitStderr(t, `its tracer sent what no tracer of this version sends`)
		tr.AwaitLines(t, 300) // of 100 batches a second
		if rss := peakRSS(t, tr.PID()); rss > 256<<20 {
			t.Errorf("the viewer has %d MiB", rss>>20)
		} else {
			t.Logf("the viewer has %d MiB", rss>>20)
		}
		tr.Stop(t)
		var kinds map[string]int
		tr.JQ(t, &kinds, `group_by(.kind) | map({(.[0].kind): length}) | add`)
		delete(kinds, "lost")
		delete(kinds, "nodeStatus")
		var others int
		tr.JQ(t, &others, `map(select(.kind == "gpu" and (.gpu.uuid | startswith("GPU-good-") | not))) | length`)
		if len(kinds) != 1 || kinds["gpu"] < 100 || others > 0 {
			t.Errorf("shown %v, %d of them forged", kinds, others)
		}
		stderr := tr.Stderr()
		lost := regexp.MustCompile(`LOST (\d+) at ` + e.Nodes[0] + ` \(decode\)`).FindStringSubmatch(stderr)
		if lost == nil {
			t.Fatalf("stderr:\n%.4000s", stderr)
		}
		// Nine events of each batch, and most of its status lines.
		if n, _ := strconv.Atoi(lost[1]); n < 9*kinds["gpu"] || n > 10*kinds["gpu"] {
			t.Errorf("%d lost with %d shown", n, kinds["gpu"])
		}
		if n := strings.Count(stderr, "\n"); n > 40 || len(stderr) > 20_000 || strings.Contains(stderr, "\x1b") {
			t.Errorf("%d lines of %d bytes:\n%.4000s", n, len(stderr), stderr)
		}
		if !strings.Contains(stderr, "more lines of its tracer are left out") {
			t.Errorf("stderr:\n%.4000s", stderr)
		}
	})
	t.Run("huge batch", func(t *testing.T) {
		tr := e.Trace(t, append(hostile, "--interval", "7s")...)
		if code := tr.Wait(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if want := e.Nodes[0] +
			": the tracer breaks the protocol: it sent a batch of more than 1024 events"; !strings.Contains(tr.Stderr(),
			want) {
			t.Errorf("stderr lacks %q:\n%.4000s", want, tr.Stderr())
		}
	})
}

// TestImpostor_IsNotTheTracer creates pods with the labels and the owner's name of the tracer's pod, one of them with
// the owner's UID, too. They run the hostile program with the session's key. The session uses neither, whichever pod
// starts first.
func TestImpostor_IsNotTheTracer(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0], Args: []string{"serve", "-quiet", "-tcp",
		":7000"}})
	tr := e.Trace(t, "trace", "gpu,exec", "-n", ns, "-o", "json")
	job := awaitJob(t, e, ns)
	for name, uid := range map[string]types.UID{"forged-name": "00000000-0000-4000-8000-000000000000",
		"forged-uid": job.UID} {
		if _, err := e.Client.CoreV1().Pods(ns).Create(t.Context(), impostorOf(job, name, uid, e.Nodes[0]),
			metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tr.AwaitStderr(t, `pod `+ns+
		`/forged-name claims to be the tracer of job \S+ and is not \(its owner has another UID`)
	tr.AwaitStderr(t, `pod `+ns+`/forged-uid claims to be the tracer of job \S+ and is not \(its image is `)
	tr.AwaitStreaming(t, 1)
	pod := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]})[0]
	pod.Exec(t, "noop")
	tr.AwaitJQ(t, `any(.kind == "exec")`)
	tr.Stop(t)
	var forged int
	tr.JQ(t, &forged, `map(select(.kind == "gpu" and (.gpu.uuid | tostring | startswith("GPU-good-")))) | length`)
	if forged > 0 || strings.Contains(tr.Stderr(), "hostile warning") {
		t.Errorf("%d events of an impostor; stderr:\n%s", forged, tr.Stderr())
	}
}

// awaitJob waits for the one Job of a namespace.
func awaitJob(t *testing.T, e *kit.Env, ns string) *batchv1.Job {
	t.Helper()
	var job *batchv1.Job
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true,
		func(ctx context.Context) (bool, error) {
			jobs, err := e.Client.BatchV1().Jobs(ns).List(ctx, metav1.ListOptions{})
			if err != nil || len(jobs.Items) == 0 {
				return false, err
			}
			job = &jobs.Items[0]
			return true, nil
		})
	if err != nil {
		t.Fatalf("no Job is created: %v", err)
	}
	return job
}

// impostorOf returns a pod with the parts of a Job that anybody can copy: labels, the owner's name and the client's
// key.
func impostorOf(job *batchv1.Job, name string, owner types.UID, node string) *corev1.Pod {
	pod := kit.PodSpec{Namespace: job.Namespace, Name: name, Node: node, Labels: job.Labels,
		Args: []string{"session"}}.Object()
	c := &pod.Spec.Containers[0]
	c.Name = job.Spec.Template.Spec.Containers[0].Name
	c.Env = job.Spec.Template.Spec.Containers[0].Env
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: owner,
		Controller: &yes}}
	return pod
}
