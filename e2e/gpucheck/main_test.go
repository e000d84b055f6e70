//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
)

// TestCounts_CompareWithTheProgram shows on a fake driver that counts passes, and that it fails where counts are wrong.
func TestCounts_CompareWithTheProgram(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	work := filepath.Join(t.TempDir(), "work")
	if out, err := exec.Command("gcc", "-O1", "-o", work, "workload/gpu.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fake := fakes.BuildCUDA(t)
	c := &check{work: work, cuda: fake.Library, interval: 250 * time.Millisecond, length: 2 * time.Second}
	if err := c.counts(t.Context()); err != nil {
		t.Error(err)
	}
	// Results that differ from those that the program expects.
	t.Setenv("ORB8_CUDA_SCRIPT", filepath.Join(t.TempDir(), "script"))
	if err := os.WriteFile(os.Getenv("ORB8_CUDA_SCRIPT"), []byte("return cuMemFree_v2 0\nreturn cuMemAlloc_v2 2\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.counts(t.Context()); err == nil {
		t.Error("counts passes for a program that fails")
	}
}
