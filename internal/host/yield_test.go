//go:build linux

package host

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const envYield = "ORB8_TEST_YIELD"

// TestYieldToPods yields in a process of its own: the other tests of this one would wait for whatever else runs.
func TestYieldToPods(t *testing.T) {
	if os.Getenv(envYield) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestYieldToPods$")
		child.Env = append(os.Environ(), envYield+"=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	if err := YieldToPods(); err != nil {
		t.Fatal(err)
	}
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d CPUs are used", n)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads: %v", len(threads), err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		policy, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(id), 0, 0)
		if errno != 0 && errno != unix.ESRCH || errno == 0 && policy != unix.SCHED_IDLE {
			t.Errorf("thread %d has policy %d (%v)", id, policy, errno)
		}
	}
}
