package kit

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// HostPIDs finds the processes of the pod as the node, which is this machine (NeedOwn), sees them.
func (p *Pod) HostPIDs(t testing.TB, comm string) []uint32 {
	t.Helper()
	return PIDsOf(t, p.UID, comm)
}

// DropIncoming makes the pod lose each nth full-sized TCP packet that comes for a port, until the pod ends: the rule is in the
// pod's own network namespace.
func (p *Pod) DropIncoming(t testing.TB, port uint16, nth int) {
	t.Helper()
	pids := p.HostPIDs(t, "workload")
	if len(pids) == 0 {
		t.Fatalf("no process of pod %s found on this machine", p.Name)
	}
	rules := fmt.Sprintf(`table inet loss {
	chain in {
		type filter hook input priority 0;
		tcp dport %d meta length > 1000 numgen inc mod %d == 0 counter drop
	}
}`, port, nth)
	cmd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pids[0]), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("drop packets to pod %s: %v: %s", p.Name, err, out)
	}
}
