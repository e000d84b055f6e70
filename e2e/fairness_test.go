package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestFlood_IsNamedAndSparesOthers traces a pod that opens UDP sockets as fast as it can and a quiet pod on the same
// node. The tracer is stopped meanwhile, so that its speed does not matter. All events of the quiet pod arrive, and the
// closing line names the flooding pod.
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
	resume := kit.Freeze(t, tracers[0].UID, "orb8-tracer")
	const (
		enough = 60_000 // flows; the ring buffer has room for a third of them
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
	resume()
	tr.AwaitJQ(t, `any(.kind == "lost" and .pod == "flood" and .causedBy.pod == "flood")`)
	tr.Stop(t)
	tr.CheckSchema(t)

	var seen int
	tr.JQ(t, &seen,
		`map(select(.kind == "flow" and .protocol == "tcp" and .src.pod == "quiet" and .phase == "closed") | .id)
		| unique | length`)
	stderr := tr.Stderr()
	_, closing, _ := strings.Cut(stderr, "LOST")
	t.Logf("%d of %d connections: %s", seen, calls, closing)
	if seen != calls || strings.Contains(closing, "pod "+ns+"/quiet lost ") {
		t.Errorf("%d of %d connections of the quiet pod were shown:\n%s", seen, calls, closing)
	}
	if !strings.Contains(closing, "pod "+ns+"/flood lost ") {
		t.Errorf("the closing line does not name the flooding pod:\n%s", stderr)
	}
}
