package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestFlood_IsNamedAndSparesOthers traces a pod that opens UDP sockets as fast as it can and, on the same node, a
// quiet one. What the quiet one does is shown, or its loss has its name; and the closing line names the pod that
// floods.
func TestFlood_IsNamedAndSparesOthers(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "flood", Node: e.Nodes[0], CPU: "800m"},
		kit.PodSpec{Namespace: ns, Name: "quiet", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp", ":7000"}})
	flood, quiet, server := pods[0], pods[1], pods[2]
	tr := e.Trace(t, "trace", "network", "-n", ns, "flood", "quiet", "-o", "json", "--filter", `src.pod == "quiet"`)
	tr.AwaitStreaming(t, 1)
	address := server.IP(t, false)
	running := flood.Start(t, "flood", "-to", netip.AddrPortFrom(address, 9).String(), "-threads", "2", "-for", "8s")
	tr.AwaitJQ(t, `any(.kind == "lost" and .pod == "flood" and .causedBy.pod == "flood")`)
	const calls = 10
	quiet.Exec(t, "tcp", "-to", netip.AddrPortFrom(address, 7000).String(), "-conns", "10", "-send", "100", "-recv", "100")
	running.Wait(t)
	tr.Stop(t)
	tr.CheckSchema(t)

	var seen, lost int
	tr.JQ(t, &seen, `map(select(.kind == "flow" and .protocol == "tcp" and .src.pod == "quiet" and .phase == "closed") | .id)
		| unique | length`)
	tr.JQ(t, &lost, `map(select(.kind == "lost" and .pod == "quiet") | .count) | add // 0`)
	if seen > calls || seen+lost < calls {
		t.Errorf("%d of %d connections of the quiet pod came, and %d of its events are counted as lost", seen, calls, lost)
	}
	said := tr.Stderr()
	closing := said[strings.LastIndex(said, "LOST"):]
	t.Logf("%d of %d connections: %s", seen, calls, closing)
	if !strings.Contains(closing, "pod "+ns+"/flood lost ") {
		t.Errorf("the closing line does not name the pod that floods:\n%s", closing)
	}
	if lost > 0 && !strings.Contains(closing, "because pod "+ns+"/flood made at least ") {
		t.Errorf("the closing line does not say why the quiet pod lost %d:\n%s", lost, closing)
	}
}
