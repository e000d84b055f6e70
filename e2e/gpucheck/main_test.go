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

// TestTheCheckItselfOnADriverThatIsAFake shows that it would tell right from wrong on a GPU.
func TestTheCheckItselfOnADriverThatIsAFake(t *testing.T) {
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
	// A copy that fails where the program thinks it does not.
	t.Setenv("ORB8_CUDA_SCRIPT", filepath.Join(t.TempDir(), "script"))
	if err := os.WriteFile(os.Getenv("ORB8_CUDA_SCRIPT"), []byte("return cuMemFree_v2 0\nreturn cuMemAlloc_v2 2\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.counts(t.Context()); err == nil {
		t.Error("a program that cannot work was counted right")
	}
}
