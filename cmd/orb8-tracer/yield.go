//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// yieldToPods keeps the tracer out of the way of what it observes. It returns what could not be done, which is no reason not
// to trace.
//
// One processor is enough for some 100,000 events a second; with more, each thread of the runtime that finds work wakes
// another to look for more. And with SCHED_BATCH a wake-up of ours does not interrupt the thread that runs: it waits for a
// processor that is free, or for the next tick, 1 to 10 ms.
func yieldToPods() error {
	runtime.GOMAXPROCS(1)
	// Threads inherit the policy of the one that makes them. Until no new one is found, one may have been made by another
	// that was not looked at yet.
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
			if err := setBatch(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("set the scheduling policy: %w", err)
			}
		}
	}
	return nil
}

// setBatch gives a thread the policy SCHED_BATCH, for which it needs no privilege.
func setBatch(thread int) error {
	var priority int32 // 0: the only one of this policy
	if _, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(thread), unix.SCHED_BATCH, uintptr(unsafe.Pointer(&priority))); errno != 0 {
		return errno
	}
	return nil
}
