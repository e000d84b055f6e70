package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestNames calls Services whose endpoints are ready, not ready and missing, and a port that a Service does not have.
func TestNames(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	app := func(name string) map[string]string { return map[string]string{"app": name} }
	const open, closed, wrong, unserved = 7000, 7008, 7009, 7006
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{
			Namespace: ns, Name: "ready", Node: e.Nodes[1], Labels: app("web"),
			Args:      []string{"serve", "-quiet", "-tcp", ":7000-7000"},
			ReadyPort: open,
		},
		kit.PodSpec{Namespace: ns, Name: "unready", Node: e.Nodes[0], Labels: app("web"), ReadyPort: closed},
		kit.PodSpec{Namespace: ns, Name: "down", Node: e.Nodes[1], ReadyPort: closed},
	)
	client := pods[0]
	web := e.Service(t, ns, "web", "web", false, open, open)
	down := e.EmptyService(t, ns, "down", unserved)
	connect := func(to netip.Addr, port uint16) string {
		t.Helper()
		return client.Exec(t, "connect", "-to", netip.AddrPortFrom(to, port).String(), "-timeout", "500ms")[0].Error
	}
	// await retries until kube-proxy has applied the Services.
	await := func(to netip.Addr, port uint16, want string) {
		t.Helper()
		got := ""
		for range 50 {
			if got = connect(to, port); got == want {
				return
			}
		}
		t.Fatalf("%s:%d: the program got %q, want %q", to, port, got, want)
	}
	await(web, open, "")
	await(down, unserved, "ECONNREFUSED")
	tr := e.Trace(t, "trace", "tcp", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 2)
	await(web, open, "")
	await(down, unserved, "ECONNREFUSED")
	if got := connect(web, wrong); got == "" {
		t.Fatal("connected to a port that the Service does not have")
	}

	is := func(what, condition string) {
		t.Helper()
		tr.AwaitJQ(t, "any("+condition+")")
		t.Logf("seen: %s", what)
	}
	is("the ready one of two endpoints", `.pod == "client" and .outcome == "connected" and .dst.service == "web" and
		.dst.servicePort == 7000 and .dst.serviceNote == null and .dst.pod == "ready"`)
	is("a Service with an endpoint that is not ready",
		`.pod == "client" and .outcome == "refused" and .dst.service == "down"
		and .dst.pod == null and .dst.node == null`)
	is("a port that the Service does not have",
		`.pod == "client" and .dst.service == "web" and .dst.servicePort == 7009 and
		.dst.serviceNote == "no-such-port" and .dst.serviceAddress == .dst.address and .dst.pod == null`)
	// The source of the probe is the node's bridge, which has the first address of the node's pod range.
	is("the kubelet that probes a pod", `.pod == "ready" and .observed == "dst" and .src.pod == null and
		.src.node == "`+e.Nodes[1]+`"`)
	tr.Stop(t)
	tr.CheckSchema(t)
}

// TestTopGPU_AllNodes runs on nodes without GPUs. It reads every node, also one without pods.
func TestTopGPU_AllNodes(t *testing.T) {
	e := kit.Need(t)
	tr := e.Trace(t, "top", "gpu", "-A", "--once", "--window", "2s")
	if code := tr.Wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.Stderr())
	}
	want := "gpu: nothing to read on " + strings.Join(e.Nodes, ", ") + ": "
	if !strings.Contains(tr.Stderr(), want) {
		t.Errorf("stderr:\n%s\nwant a line with %q", tr.Stderr(), want)
	}
}
