package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestFlood_IsNamedAndSparesOthers traces a pod that opens UDP sockets as fast as it can and, on the same node, a quiet
// one, while the tracer stands still: how fast it reads is the machine's. What the quiet one does is shown, and the
// closing line names the pod that floods.
func TestFlood_IsNamedAndSparesOthers(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "flood", Node: e.Nodes[0], CPU: "800m"},
		kit.PodSpec{Namespace: ns, Name: "quiet", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp",
			":7000"}})
	flood, quiet, server := pods[0], pods[1], pods[2]
	tr := e.Trace(t, "trace", "network", "-n", ns, "flood", "quiet", "-o", "json", "--filter", `src.pod == "quiet"`)
	tr.AwaitStreaming(t, 1)
	address := server.IP(t, false)
	tracers := e.Tracers(t)
	if len(tracers) != 1 {
		t.Fatalf("%d tracers run, not 1", len(tracers))
	}
	goOn := kit.Freeze(t, tracers[0].UID, "orb8-tracer")
	const (
		enough = 60_000 // flows; a ring has room for a third of them
		calls  = 10
	)
	for sent := uint64(0); sent < enough; {
		for _, r := range flood.Exec(t, "flood", "-to", netip.AddrPortFrom(address, 9).String(), "-threads", "2",
			"-for", "1s") {
			sent += r.DatagramsSent
		}
	}
	quiet.Exec(t, "tcp", "-to", netip.AddrPortFrom(address, 7000).String(), "-conns", "10", "-send", "100", "-recv",
		"100")
	goOn()
	tr.AwaitJQ(t, `any(.kind == "lost" and .pod == "flood" and .causedBy.pod == "flood")`)
	tr.Stop(t)
	tr.CheckSchema(t)

	var seen int
	tr.JQ(t, &seen,
		`map(select(.kind == "flow" and .protocol == "tcp" and .src.pod == "quiet" and .phase == "closed") | .id)
		| unique | length`)
	said := tr.Stderr()
	_, closing, _ := strings.Cut(said, "LOST")
	t.Logf("%d of %d connections: %s", seen, calls, closing)
	if seen != calls || strings.Contains(closing, "pod "+ns+"/quiet lost ") {
		t.Errorf("%d of %d connections of the quiet pod came:\n%s", seen, calls, closing)
	}
	if !strings.Contains(closing, "pod "+ns+"/flood lost ") {
		t.Errorf("the closing line does not name the pod that floods:\n%s", said)
	}
}
