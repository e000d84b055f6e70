package e2e

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestDiff_NamesTheChanges records a namespace twice before a rollout and once after it. The first two recordings do
// not differ, and the third one differs by the changes of the rollout and by nothing else: a service calls another one
// by a name that it did not resolve before, its old dependency has become slow, and a job begins to fail and is
// executed by another path.
func TestDiff_NamesTheChanges(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	const every, pause = "200ms", "500ms"
	e.Deployment(t, ns, "db", 1, "web", "-listen", ":8080", "-delay", "2ms")
	e.Deployment(t, ns, "cache", 1, "web", "-listen", ":8080", "-delay", "2ms")
	e.Service(t, ns, "db", "db", false, 8080, 8080)
	e.Service(t, ns, "cache", "cache", false, 8080, 8080)
	e.Deployment(t, ns, "web", 2, "call", "-fresh", "-every", every, "-to", "http://db:8080/")
	e.Deployment(t, ns, "job", 1, "spawn", "-count", "1000000", "-pause", pause, "noop")

	first, second := recordFor(t, e, ns, "first"), recordFor(t, e, ns, "second")
	if rows := differences(t, e, first, second); len(rows) > 0 {
		t.Errorf("without a rollout: %q", rows)
	}

	e.Rollout(t, ns, "db", "web", "-listen", ":8080", "-delay", "30ms")
	e.Rollout(t, ns, "web", "call", "-fresh", "-every", every, "-to", "http://db:8080/", "-to", "http://cache:8080/")
	e.Rollout(t, ns, "job", "spawn", "-count", "1000000", "-pause", pause, "-program", "/workload", "die", "-code", "3")
	after := recordFor(t, e, ns, "after")
	want := []string{
		"deploy/job appeared exec /workload runs",
		"deploy/job vanished exec /proc/self/exe runs",
		"deploy/job appeared exit workload: 3 exits",
		"deploy/web changed peer " + ns + "/db:8080 response",
		"deploy/web appeared peer " + ns + "/cache:8080 connections",
		"deploy/web appeared dns cache." + ns + ".svc.cluster.local. queries",
	}
	slices.Sort(want)
	got := differences(t, e, second, after)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("after the rollout: %q, want %q", got, want)
	}
	t.Log(run(t, e, e.Kubeconfig, 0, "diff", second, after))
}

// recordFor records what a namespace does for a while.
func recordFor(t *testing.T, e *kit.Env, namespace, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name+".orb8")
	run(t, e, e.Kubeconfig, 0, "trace", "network,tcp,dns,exec", "-n", namespace, "--duration", "40s", "--record", path)
	return path
}

// differences are the rows of a comparison, in words.
func differences(t *testing.T, e *kit.Env, before, after string) (rows []string) {
	t.Helper()
	tr := e.Trace(t, "diff", before, after, "-o", "json")
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	tr.JQ(t, &rows, `map([.workload, .change, .topic, .name, .measure] | map(. // "?") | join(" "))`)
	t.Log(tr.Stderr() + tr.Stdout(t))
	return rows
}
