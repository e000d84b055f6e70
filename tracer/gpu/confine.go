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

// childUser is the user and group of the child. It owns no files and no other processes: it is below 65536, where the
// ids of a user namespace end, and outside the ranges that distributions and systemd allocate.
const childUser = 60908

// confined returns the attributes of the child: its own user, which drops all capabilities, and its own process group,
// so that it does not get the tracer's signals. It confines itself further before it loads the library
// (cmd/orb8-nvml). A tracer that is not root, as in tests, has no capabilities to drop.
func confined() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: childUser, Gid: childUser}
	}
	return attr
}

// signalChild sends a signal to the child, which has another user. kill(2) requires CAP_KILL, which the tracer lacks,
// or the same effective user. User ids are per thread, so one thread takes the child's and then ends.
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

// inherited returns the path by which the child opens the library that it inherits.
func inherited() string { return "/proc/self/fd/" + strconv.Itoa(libraryFD) }
