package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// fakeNodes creates the nodes of testdata/fake-nodes.yaml, each with a pod in the namespace.
func fakeNodes(t *testing.T, e *kit.Env, namespace string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "fake-nodes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(b, []byte("\n---\n")) {
		var n corev1.Node
		if err := yaml.UnmarshalStrict(document, &n); err != nil {
			t.Fatal(err)
		}
		// Room for the scheduler to place pods.
		n.Status.Allocatable = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"),
			corev1.ResourcePods: resource.MustParse("110"),
		}
		n.Status.Capacity = n.Status.Allocatable
		e.FakeNode(t, &n)
		e.FakePod(t, kit.PodSpec{Namespace: namespace, Name: "on-" + n.Name, Node: n.Name})
	}
}

// wantLines fails unless stderr has a line with each prefix.
func wantLines(t *testing.T, stderr string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+stderr, "\n"+line) {
			t.Errorf("no line begins with %q in:\n%s", line, stderr)
		}
	}
}

// TestUnsupportedNodes traces targets on a Windows node, a node that is not ready and a virtual node, besides targets
// on two ready Linux nodes.
func TestUnsupportedNodes(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "a", Node: e.Nodes[0]}, kit.PodSpec{Namespace: ns, Name: "b",
		Node: e.Nodes[1]})
	fakeNodes(t, e, ns)
	before := e.Snapshot(t, true)
	reasons := []string{"fake-dead: not ready: ", "fake-virtual: platform: a virtual node ",
		"fake-win: platform: windows/amd64: "}

	t.Run("some", func(t *testing.T) {
		began := time.Now()
		// The time begins with the first of the two nodes, and the other one may take seconds longer.
		tr := e.Trace(t, "trace", "network", "-n", ns, "--duration", "8s")
		if code := tr.Wait(t); code != 3 || time.Since(began) > 20*time.Second {
			t.Errorf("exit code %d after %v, want 3", code, time.Since(began))
		}
		wantLines(t, tr.Stderr(), append(reasons, "2/5 nodes streaming; ")...)
	})
	t.Run("all", func(t *testing.T) {
		began := time.Now()
		tr := e.Trace(t, "trace", "network", "-n", ns, "on-fake-dead", "on-fake-win")
		if code := tr.Wait(t); code != 1 || time.Since(began) > 10*time.Second {
			t.Errorf("exit code %d after %v, want 1", code, time.Since(began))
		}
		wantLines(t, tr.Stderr(), "fake-dead: not ready: ", "fake-win: platform: windows/amd64: ",
			"error: no node could be traced: ")
	})
	t.Run("doctor", func(t *testing.T) {
		findings, stderr, code := doctor(t, e, e.Kubeconfig, "-n", ns)
		if code != 3 {
			t.Errorf("exit code %d, want 3: %s", code, stderr)
		}
		for node, check := range map[string]string{"fake-dead": "ready", "fake-virtual": "platform",
			"fake-win": "platform"} {
			if f := findingOf(t, findings, node, check); f.Status != "failure" || f.Fix == nil {
				t.Errorf("%+v", f)
			}
		}
	})
	t.Run("beyond --max-nodes", func(t *testing.T) {
		tr := e.Trace(t, "trace", "network", "-n", ns, "--max-nodes", "1", "--duration", "1s", "a", "b")
		if code := tr.Wait(t); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		wantLines(t, tr.Stderr(), "not traced, beyond --max-nodes 1: 1 node (")
	})
	before.NothingLeft(t)

	// A user without the right to read nodes gets the error from the tracer's pod, which stays. The message names the
	// command that removes it.
	t.Run("without the right to read nodes", func(t *testing.T) {
		user := e.RoleUser(t, "nodeless", ns)
		tr := e.TraceAs(t, user, "trace", "network", "-n", ns, "--tracer-namespace", ns, "on-fake-dead")
		if code := tr.Wait(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		wantLines(t, tr.Stderr(), "fake-dead: kubelet: the node's kubelet did not take up the tracer's pod within 10s")
		if !strings.Contains(tr.Stderr(), "--force --grace-period=0") {
			t.Errorf("stderr:\n%s", tr.Stderr())
		}
		cleanup := e.Trace(t, "cleanup", "-n", ns)
		if code := cleanup.Wait(t); code != 0 {
			t.Errorf("cleanup exits with %d", code)
		}
		out, err := os.ReadFile(cleanup.Output)
		if err != nil || !strings.Contains(string(out), "on node fake-dead, which is not ready, was removed from the "+
			"API; if the node comes back its kubelet ends it") {
			t.Errorf("cleanup printed %q, %v", out, err)
		}
	})
	// The snapshot is older than the user's Role, so only check for pods.
	if pods := e.TracerPods(t, ns); len(pods) > 0 {
		t.Errorf("left: %q", pods)
	}
}
