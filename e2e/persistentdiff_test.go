package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// diffOfPast compares a time before a rollout with one after it, as agents have recorded them.
func diffOfPast(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	const window = 12 * time.Second
	// pass waits for a window, and a second for the agents.
	pass := func() {
		run(t, e, e.Kubeconfig, 0, "trace", "network", "-n", ns, "--mode", "cluster", "--duration",
			(window + time.Second).String())
	}
	for _, name := range []string{"db", "cache"} {
		e.Deployment(t, ns, name, 1, "web", "-listen", ":8080")
		e.Service(t, ns, name, name, false, 8080, 8080)
	}
	call := []string{"call", "-fresh", "-every", "200ms", "-to", "http://db:8080/"}
	e.Deployment(t, ns, "web", 1, call...)
	pass()
	before := time.Now()
	e.Rollout(t, ns, "web", append(call, "-to", "http://cache:8080/")...)
	pass()
	tr := e.TraceAs(t, e.Kubeconfig, "diff", "deploy/web", "-n", ns, "--window", window.String(), "--before",
		time.Since(before).Truncate(time.Millisecond).String(), "-o", "json")
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, tr.Stderr())
	}
	var got []string
	tr.JQ(t, &got, `map([.change, .topic, .name, .measure] | join(" ")) | sort`)
	want := []string{
		"appeared dns cache." + ns + ".svc.cluster.local. queries",
		"appeared peer " + ns + "/cache:8080 connections",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q:\n%s", got, want, tr.Stderr())
	}
}
