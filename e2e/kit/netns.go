package kit

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// HostPIDs finds the processes of the pod as the node, which is this machine (NeedOwn), sees them.
func (p *Pod) HostPIDs(t testing.TB, comm string) []uint32 {
	t.Helper()
	return PIDsOf(t, p.UID, comm)
}

// HostPID is one of the workload's.
func (p *Pod) HostPID(t testing.TB) uint32 {
	t.Helper()
	pids := p.HostPIDs(t, "workload")
	if len(pids) == 0 {
		t.Fatalf("no process of pod %s found on this machine", p.Name)
	}
	return pids[0]
}

// DropIncoming makes the pod lose each nth full-sized TCP packet that comes for a port, until the pod ends: the rule is
// in the pod's own network namespace.
func (p *Pod) DropIncoming(t testing.TB, port uint16, nth int) {
	t.Helper()
	rules := fmt.Sprintf(`table inet loss {
	chain in {
		type filter hook input priority 0;
		tcp dport %d meta length > 1000 numgen inc mod %d == 0 counter drop
	}
}`, port, nth)
	p.nft(t, rules, "-f", "-")
}

// DropSYNs makes the pod lose every SYN that comes for a port, until the pod ends, and gives a function that says how
// many came.
func (p *Pod) DropSYNs(t testing.TB, port uint16) (count func() int) {
	t.Helper()
	table := fmt.Sprintf("syns%d", port)
	p.nft(t, fmt.Sprintf(`table inet %s {
	chain in {
		type filter hook input priority 0;
		tcp dport %d tcp flags & (syn | ack) == syn counter drop
	}
}`, table, port), "-f", "-")
	return func() int {
		t.Helper()
		out := p.nft(t, "", "list", "table", "inet", table)
		_, rest, _ := strings.Cut(out, "counter packets ")
		digits, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatalf("no counter in %s", out)
		}
		return n
	}
}

// nft runs nft in the pod's network namespace.
func (p *Pod) nft(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", p.HostPID(t)), "nft"},
		args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %q in pod %s: %v: %s", args, p.Name, err, out)
	}
	return string(out)
}
