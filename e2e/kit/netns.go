package kit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// HostPIDs finds the processes of the pod's containers as the node sees them, by the pod's UID in their cgroup. The node has
// to be on this machine (NeedOwn).
func (p *Pod) HostPIDs(t testing.TB, comm string) []uint32 {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []uint32
	for _, dir := range dirs {
		cgroup, err1 := os.ReadFile(dir + "/cgroup")
		name, err2 := os.ReadFile(dir + "/comm")
		if err1 != nil || err2 != nil {
			continue // it has just ended
		}
		// The systemd cgroup driver writes the UID with underscores.
		if strings.Contains(strings.ReplaceAll(string(cgroup), "_", "-"), string(p.UID)) && strings.TrimSpace(string(name)) == comm {
			pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, uint32(pid))
		}
	}
	return pids
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
