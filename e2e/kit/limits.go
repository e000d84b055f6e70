package kit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kubepods is the cgroup of all pods of a node. The node's own is its parent.
const kubepods = "/kubepods"

// PreferPods gives the pods of the pod's node the CPUs before all other processes of this machine, until the end of the
// test. Without it a build beside the test would be the neighbour that crowds the node.
func (p *Pod) PreferPods(t testing.TB) {
	t.Helper()
	dir, v1, err := cgroupDir(p.HostPID(t), "cpu")
	if err != nil {
		t.Fatal(err)
	}
	node, _, ok := strings.Cut(dir, kubepods)
	if !ok {
		t.Fatalf("%s is in no pod's cgroup: %s", p.Name, dir)
	}
	// 32 times the usual weight.
	if v1 {
		changeUntilEnd(t, filepath.Join(node, "cpu.shares"), "32768")
	} else {
		changeUntilEnd(t, filepath.Join(node, "cpu.weight"), "3200")
	}
}

// ShrinkNeighbourhood limits the memory of all pods without requests (BestEffort) on the pod's node to what they use
// now less some bytes, until the end of the test: for them the node's memory is short.
func (p *Pod) ShrinkNeighbourhood(t testing.TB, less uint64) {
	t.Helper()
	dir, v1, err := cgroupDir(p.HostPID(t), "memory")
	if err != nil {
		t.Fatal(err)
	}
	class := filepath.Dir(filepath.Dir(dir)) // of the container, of the pod
	if !strings.Contains(filepath.Base(class), "besteffort") {
		t.Fatalf("%s is in no cgroup of pods without requests: %s", p.Name, dir)
	}
	usage, limit := "memory.current", "memory.max"
	if v1 {
		usage, limit = "memory.usage_in_bytes", "memory.limit_in_bytes"
	}
	used, err := memoryFile{path: filepath.Join(class, usage)}.read()
	if err != nil {
		t.Fatal(err)
	}
	if used <= less {
		t.Fatalf("the pods without requests use %d bytes only", used)
	}
	changeUntilEnd(t, filepath.Join(class, limit), fmt.Sprint(used-less))
}

// changeUntilEnd writes a value to a file of a cgroup, and restores the value before at the end of the test.
func changeUntilEnd(t testing.TB, file, value string) {
	t.Helper()
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Fatalf("write %s to %s: %v", value, file, err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, before, 0); err != nil {
			t.Errorf("restore %s: %v", file, err)
		}
	})
}
