package e2e

import (
	"reflect"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// sumsOfFlows compares the sums of a query with its flows.
func sumsOfFlows(t *testing.T, e *kit.Env, ns string) {
	t.Helper()
	args := []string{"flows", "-n", ns, "--since", "1h", "--until", time.Now().UTC().Format(time.RFC3339), "-o", "json"}
	var want, got []map[string]any
	query(t, e, e.Kubeconfig, 0, args...).JQ(t, &want, `map(select(.kind == "flow"))
| group_by([.src.pod, .dst.service, .protocol]) | map({
	key: [.[0].src.pod, .[0].dst.service, .[0].protocol], flows: length,
	sent: map(.bytesSent) | add, received: map(.bytesReceived) | add, retransmits: map(.retransmits) | add
})`)
	query(t, e, e.Kubeconfig, 0, append(args, "--aggregate-by", "src.pod,dst.service,protocol")...).JQ(t, &got,
		`map(select(.kind == "flowSum") | {
	key: [.src.pod, .dst.service, .protocol], flows, sent: .bytesSent, received: .bytesReceived, retransmits
}) | sort_by(.key)`)
	if len(want) < 2 || !reflect.DeepEqual(got, want) {
		t.Errorf("the sums of flows are %v, want %v", got, want)
	}
}
