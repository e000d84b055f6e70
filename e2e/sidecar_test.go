package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// optOut is the part of the policy's condition that skips pods with the opt-out annotation.
const optOut = `&& !(has(object.metadata.annotations) && 'sidecar.istio.io/inject' in object.metadata.annotations)`

// injecting creates a namespace with a pod on one node, and a policy that injects a container into the pod of each Job
// there: of each that does not opt out, or of all. The container is the pod's first and never ends.
func injecting(t *testing.T, e *kit.Env, honoured bool) (namespace string) {
	t.Helper()
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0]})
	b, err := os.ReadFile(filepath.Join("testdata", "sidecar-injection.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	policy := strings.NewReplacer("mesh-inject", "mesh-"+ns, "kubernetes.io/metadata.name: mesh",
		"kubernetes.io/metadata.name: "+ns).Replace(string(b))
	if !strings.Contains(policy, optOut) {
		t.Fatalf("the policy has no %q: %s", optOut, policy)
	}
	if !honoured {
		policy = strings.Replace(policy, optOut, "", 1)
	}
	e.Apply(t, policy)
	// The API server applies a policy some time after its creation.
	probe := kit.PodSpec{Namespace: ns, Name: "probe", Labels: map[string]string{"job-name": "probe"}}.Object()
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) {
			made, err := e.Client.CoreV1().Pods(ns).Create(ctx, probe,
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && len(made.Spec.Containers) == 2, err
		})
	if err != nil {
		t.Fatalf("nothing is injected: %v", err)
	}
	return ns
}

// theTracer returns the only running tracer pod, which must have so many containers.
func theTracer(t *testing.T, e *kit.Env, containers int) corev1.Pod {
	t.Helper()
	tracers := e.Tracers(t)
	if len(tracers) != 1 || len(tracers[0].Spec.Containers) != containers {
		t.Fatalf("%d tracers, want one with %d containers: %+v", len(tracers), containers, tracers)
	}
	return tracers[0]
}

func TestSidecar_OptOutIsHonoured(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := injecting(t, e, true)
	tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 1)
	theTracer(t, e, 1)
	tr.Stop(t)
}

// TestSidecar_DoesNotKeepASession ends sessions with a container beside the tracer that never ends.
func TestSidecar_DoesNotKeepASession(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := injecting(t, e, false)
	const sidecar = "orb8.dev/e2e/workload"
	t.Run("killed plugin", func(t *testing.T) {
		before := e.Snapshot(t, true)
		tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
		tr.AwaitStreaming(t, 1)
		theTracer(t, e, 2)
		tr.Signal(t, syscall.SIGKILL)
		tr.Wait(t)
		before.NothingLeft(t)
	})
	t.Run("killed tracer", func(t *testing.T) {
		before := e.Snapshot(t, true)
		tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
		tr.AwaitStreaming(t, 1)
		pod := theTracer(t, e, 2)
		for _, pid := range kit.PIDsOf(t, pod.UID, "orb8-tracer") {
			if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		killed := time.Now()
		tr.AwaitStderr(t, `tracer was killed by signal 9; starting another`)
		// The kubelet's report takes about a second; the heartbeat's timeout would take six.
		if took := time.Since(killed); took > 5*time.Second {
			t.Errorf("noticed after %v", took)
		}
		tr.AwaitStderr(t, `streaming again`)
		tr.Stop(t)
		if stderr := tr.Stderr(); strings.Contains(stderr, "orb8-ready") || strings.Contains(stderr, sidecar) {
			t.Errorf("stderr:\n%s", stderr)
		}
		before.NothingLeft(t)
	})
	t.Run("missing image", func(t *testing.T) {
		before := e.Snapshot(t, true)
		tr := e.Trace(t, "trace", "network", "-n", ns, "--image", "orb8.dev/none:1", "--image-pull-policy", "Never")
		if code := tr.Wait(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		stderr := tr.Stderr()
		if !strings.Contains(stderr, "image: can not pull image orb8.dev/none:1: ") ||
			strings.Contains(stderr, sidecar) {
			t.Errorf("stderr:\n%s", stderr)
		}
		before.NothingLeft(t)
	})
}
