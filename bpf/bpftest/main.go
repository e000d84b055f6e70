// Package bpftest is the kit for tests that load programs into the running kernel: a throw-away network namespace
// for the whole test process, throw-away cgroups, and the ids of what is loaded.
package bpftest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// inNetns tells the test process that it is the child that Main made.
const inNetns = "ORB8_BPFTEST_NETNS"

// Main runs the tests of a package in a network namespace of their own, with loopback up. All threads of the test
// process live there, so tests need not care which thread opens a socket. Without root the tests run where they are,
// and those that call Root skip.
func Main(m *testing.M) int {
	if os.Getuid() != 0 {
		return m.Run()
	}
	if os.Getenv(inNetns) == "" {
		code, err := rerun()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bpftest:", err)
			return 1
		}
		return code
	}
	if err := LoopbackUp(); err != nil {
		fmt.Fprintln(os.Stderr, "bpftest:", err)
		return 1
	}
	return m.Run()
}

func rerun() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inNetns+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	// go test asks for the stacks of a hanging test by SIGQUIT, and interrupts by SIGINT: both are the child's to
	// answer.
	signal.Ignore(syscall.SIGQUIT, syscall.SIGINT)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// LoopbackUp sets the loopback link of the caller's network namespace up.
func LoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// Root skips the test unless it may load programs.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("needs root")
	}
}
