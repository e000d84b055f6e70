//go:build linux

package gpu

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// childUser is the user and group that the child runs as, whose files and processes there are none: below 65536, which
// is where the ids of a user namespace end, and outside the ranges that distributions and systemd give away.
const childUser = 60908

// confined is how the child is started: as a user of its own, which costs it all capabilities, and in its own process
// group, since signals are for the tracer. It confines itself further before it loads the library (cmd/orb8-nvml). A
// tracer that is not root, as in tests, has no capabilities to give up.
func confined() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: childUser, Gid: childUser}
	}
	return attr
}

// signalChild sends a signal to the child, whose user is another one: kill(2) wants CAP_KILL for that, which the tracer
// has not, or the same effective user. Threads have their own, so one takes on the child's and ends after it.
func signalChild(p *os.Process, signal syscall.Signal) error {
	if os.Geteuid() != 0 {
		return p.Signal(signal)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		const unchanged = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, childUser, unchanged); errno != 0 {
			done <- fmt.Errorf("become user %d: %w", childUser, errno)
			return
		}
		done <- p.Signal(signal)
	}()
	return <-done
}

// libraryFD is the number of the library's descriptor in the child: the first after the standard ones.
const libraryFD = 3

// inherited is the path by which the child opens the library that it was handed.
func inherited() string { return "/proc/self/fd/" + strconv.Itoa(libraryFD) }
