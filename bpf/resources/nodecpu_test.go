package resources

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNodeCPU(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stat")
	var n nodeCPU
	for _, step := range []struct {
		line string
		want int // -1: not known
	}{
		{"cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1\n", -1},
		{"cpu  150 0 125 825 0 0 0 0 50 0\n", 75},
		{"cpu  151 0 125 826 0 0 0 0 50 0\n", 75}, // too soon
		{"cpu  150 0 125 925 100 0 0 0 50 0\n", 0},
		{"cpu  150 0 125 925 100 50 25 125 50 0\n", 100},
		{"cpu  250 0 125 900 100 50 25 125 50 0\n", -1}, // idle time went back
		{"cpu  350 0 125 1000 100 50 25 125 50 0\n", 50},
	} {
		if err := os.WriteFile(file, []byte(step.line), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.read(file); err != nil {
			t.Fatal(err)
		}
		if step.want < 0 != (n.percent == nil) || n.percent != nil && *n.percent != uint64(step.want) {
			t.Errorf("%q: %v, want %d", step.line, n.percent, step.want)
		}
	}
	for _, bad := range []string{"", "cpu\n", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu a b c d e f g h i\n"} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := new(nodeCPU).read(file); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	if err := new(nodeCPU).read(statFile); err != nil {
		t.Error(err)
	}
}
