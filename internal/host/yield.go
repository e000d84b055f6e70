//go:build linux

package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// YieldToPods keeps the tracer out of the way of what it observes. It returns what could not be done, which is no
// reason not to trace.
//
// One CPU is enough for some 100,000 events a second; with more, each thread of the runtime that finds work wakes
// another to look for more. And with SCHED_IDLE a wake-up of ours does not interrupt the thread that runs, and a pod's
// thread that wakes up takes a CPU that runs us for a free one. It is a policy within the tracer's own cgroup:
// that still gets its share of a busy node.
func YieldToPods() error {
	runtime.GOMAXPROCS(1)
	// Threads inherit the policy of the one that makes them. Until no new one is found, one may have been made by
	// another that was not looked at yet.
	done := map[int]bool{}
	for more := true; more; {
		more = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[id] {
				continue
			}
			more, done[id] = true, true
			if err := setIdle(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("set the scheduling policy: %w", err)
			}
		}
	}
	return nil
}

// setIdle gives a thread the policy SCHED_IDLE, for which it needs no privilege.
func setIdle(thread int) error {
	var priority int32 // 0: the only one of this policy
	if _, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(thread), unix.SCHED_IDLE,
		uintptr(unsafe.Pointer(&priority))); errno != 0 {
		return errno
	}
	return nil
}
