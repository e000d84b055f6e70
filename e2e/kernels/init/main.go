//go:build linux

// Command init is the first process of a virtual machine that tries orb8's programs on another kernel. It prepares what
// they need, runs the commands of /plan in turn, with what they print on the console, and powers the machine off.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/kernels/console"
)

// known are the capabilities that a command may be left with, by capabilities(7).
var known = map[string]int{
	"BPF": unix.CAP_BPF, "PERFMON": unix.CAP_PERFMON, "NET_ADMIN": unix.CAP_NET_ADMIN,
	"SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
}

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init: power off:", err)
	}
}

func run() error {
	for _, m := range []struct{ kind, dir string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
		{"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("bring up the loopback: %w", err)
	}
	// Kernel messages would stand in the middle of what commands print.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0o644); err != nil {
		return err
	}
	plan, err := os.Open("/plan")
	if err != nil {
		return err
	}
	defer plan.Close()
	lines := bufio.NewScanner(plan)
	for lines.Scan() {
		name, command, _ := strings.Cut(lines.Text(), " ")
		fmt.Println(console.Begin(name))
		began := time.Now()
		code := perform(strings.Fields(command))
		fmt.Println(console.End(name, code, time.Since(began)))
	}
	return lines.Err()
}

// perform runs a command and returns its exit code. One that begins with "with=BPF,PERFMON" has those capabilities
// only.
func perform(args []string) int {
	names, restricted := strings.CutPrefix(args[0], "with=")
	if restricted {
		args = args[1:]
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = os.Stdout, os.Stdout, "/tmp"
	cmd.Env = []string{"PATH=/", "HOME=/tmp"}
	done := make(chan error)
	go func() {
		// What is dropped is dropped for this thread, and ends with it.
		runtime.LockOSThread()
		if restricted {
			if err := drop(strings.Split(names, ",")); err != nil {
				done <- err
				return
			}
		}
		done <- cmd.Run()
	}()
	if err := <-done; err != nil && cmd.ProcessState == nil {
		fmt.Println("init:", err)
		return -1
	}
	return cmd.ProcessState.ExitCode()
}

// drop takes all but the named capabilities from the bounding set: a program that root executes then has no more than
// those.
func drop(allBut []string) error {
	var left []int
	for _, name := range allBut {
		number, ok := known[name]
		if !ok {
			return fmt.Errorf("capability %q is not known here", name)
		}
		left = append(left, number)
	}
	for c := 0; c <= 63; c++ {
		if slices.Contains(left, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err == unix.EINVAL {
			break // the kernel knows no more
		} else if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}
