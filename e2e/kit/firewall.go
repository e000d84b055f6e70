package kit

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Firewall adds an nftables rule to the forward hook of a node on this machine (NeedOwn), like an implementation of
// NetworkPolicy. It removes the rule at the end of the test.
func (e *Env) Firewall(t testing.TB, node, rule string) {
	t.Helper()
	nft := func(input string) {
		t.Helper()
		cmd := exec.Command("nsenter", "--net="+nodeNetwork(t, node), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("nft %q on %s: %v: %s", input, node, err, out)
		}
	}
	nft(fmt.Sprintf("table inet orb8-e2e {\n chain forward {\n type filter hook forward priority 0;\n %s\n }\n}\n",
		rule))
	t.Cleanup(func() { nft("delete table inet orb8-e2e\n") })
}

// nodeNetwork returns the path of a node's network namespace, which is that of its kube-proxy.
func nodeNetwork(t testing.TB, node string) string {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		cmdline, err := os.ReadFile(path)
		if err == nil && bytes.Contains(cmdline, []byte("kube-proxy\x00")) &&
			bytes.Contains(cmdline, []byte("--hostname-override="+node+"\x00")) {
			return filepath.Join(filepath.Dir(path), "ns", "net")
		}
	}
	t.Fatalf("no kube-proxy of node %s runs on this machine", node)
	return ""
}
