package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

type finding struct {
	Node, Fix                   *string
	Kind, Check, Status, Detail string
}

// doctor runs kubectl orb8 doctor and returns its findings, stderr and exit code.
func doctor(t *testing.T, e *kit.Env, kubeconfig string, args ...string) (findings []finding, stderr string, code int) {
	t.Helper()
	tr := e.TraceAs(t, kubeconfig, append([]string{"doctor", "-o", "json"}, args...)...)
	code = tr.Wait(t)
	tr.JQ(t, &findings, ".")
	return findings, tr.Stderr(), code
}

// findingOf returns the finding of a check for a node, or for the cluster if node is empty.
func findingOf(t *testing.T, findings []finding, node, check string) finding {
	t.Helper()
	i := slices.IndexFunc(findings, func(f finding) bool {
		return f.Check == check && (node == "" && f.Node == nil || f.Node != nil && *f.Node == node)
	})
	if i < 0 {
		t.Fatalf("no finding of check %q for node %q in %+v", check, node, findings)
	}
	return findings[i]
}

// wantFix returns the part of a finding's fix that matches the pattern.
func wantFix(t *testing.T, f finding, pattern string) string {
	t.Helper()
	if f.Fix == nil {
		t.Fatalf("%+v has no fix", f)
	}
	m := regexp.MustCompile(pattern).FindString(*f.Fix)
	if m == "" {
		t.Fatalf("the fix is %q, want a match of %q", *f.Fix, pattern)
	}
	return m
}

func TestDoctor_HealthyCluster(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	before := e.Snapshot(t, false)
	findings, stderr, code := doctor(t, e, e.Kubeconfig, "-n", ns)
	for _, f := range findings {
		if f.Status != "ok" || f.Fix != nil {
			t.Errorf("not healthy: %+v", f)
		}
	}
	for _, node := range e.Nodes {
		for _, check := range []string{"kernel", "cgroup", "capabilities", "trace network"} {
			findingOf(t, findings, node, check)
		}
	}
	if want := fmt.Sprintf("%d nodes can be traced\n", len(e.Nodes)); code != 0 || stderr != want {
		t.Errorf("exit code %d, stderr %q, want 0 and %q", code, stderr, want)
	}
	before.NothingLeft(t)
}

func TestDoctor_OneNode(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	findings, _, code := doctor(t, e, e.Kubeconfig, "-n", ns, "--node", e.Nodes[1])
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	findingOf(t, findings, e.Nodes[1], "trace network")
	for _, f := range findings {
		if f.Node != nil && *f.Node != e.Nodes[1] {
			t.Errorf("a finding for another node: %+v", f)
		}
	}
}

// TestDoctor_FixesPodSecurity runs the command that doctor prints.
func TestDoctor_FixesPodSecurity(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	before := e.Snapshot(t, false)
	findings, _, code := doctor(t, e, e.Kubeconfig, "-n", ns)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	f := findingOf(t, findings, "", "admission: pod")
	if f.Status != "failure" {
		t.Errorf("not a failure: %+v", f)
	}
	if f := findingOf(t, findings, e.Nodes[0], "tracer"); f.Status != "unknown" {
		t.Errorf("the tracer was tried without admission: %+v", f)
	}
	before.NothingLeft(t)

	cmd := exec.Command("bash", "-c", wantFix(t, f, `kubectl label namespace \S+ \S+ --overwrite`))
	cmd.Env = e.Environ(e.Kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, _, code := doctor(t, e, e.Kubeconfig, "-n", ns); code != 0 {
		t.Errorf("after the fix: exit code %d", code)
	}
}

// TestDoctor_FixesPermissions runs the command that doctor prints for the user who ran it.
func TestDoctor_FixesPermissions(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "p", Node: e.Nodes[0]})
	nobody := e.User(t, "patient")
	before := e.Snapshot(t, false)
	findings, _, code := doctor(t, e, nobody, "-n", ns)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	f := findingOf(t, findings, "", "permission: jobs.batch")
	if f.Status != "failure" {
		t.Errorf("not a failure: %+v", f)
	}
	if f := findingOf(t, findings, "", "permission: services"); f.Status != "warning" {
		t.Errorf("not a warning: %+v", f)
	}
	before.NothingLeft(t)

	command := wantFix(t, f, `kubectl orb8 rbac .*--user=patient .*`)
	cmd := exec.Command("bash", "-c", command)
	cmd.Env = e.Environ(e.Kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	findings, stderr, code := doctor(t, e, nobody, "-n", ns)
	if code != 0 || stderr != "1 node can be traced\n" {
		t.Errorf("after the fix: exit code %d, stderr %q, %+v", code, stderr, findings)
	}
	// The documented Role does not allow reading nodes: doctor checks the nodes of the pods.
	findingOf(t, findings, e.Nodes[0], "trace network")
}
