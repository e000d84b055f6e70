package bpftest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// child names the function that a re-executed test binary runs in the place of its tests.
const child = "ORB8_BPFTEST_CHILD"

// Children runs the function that Child asked for, if this process is such a child, and exits with 1 if it fails.
// Call it first in TestMain.
func Children(functions map[string]func() error) {
	f, ok := functions[os.Getenv(child)]
	if !ok {
		return
	}
	if err := f(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Child prepares the test binary to run one of the functions given to Children, in a cgroup. It dies with this
// process at the latest.
func Child(tb testing.TB, name string, in *Cgroup) *exec.Cmd {
	tb.Helper()
	dir, err := os.Open(in.Dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dir.Close() })
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), child+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	return cmd
}
