package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// lock runs threads that work under one mutex, as a program in C does with pthread_mutex_lock: a thread that does not
// get it waits in futex(2). Go's sync.Mutex would park the goroutine and not its thread. Each interval it reports, as
// Usage, the time that all threads have waited for the mutex.
func lock(ctx context.Context, flags *flag.FlagSet, args []string) error {
	threads := flags.Int("threads", 8, "how many")
	hold := flags.Duration("hold", 10*time.Millisecond, "how long a thread holds the mutex")
	think := flags.Duration("think", 10*time.Millisecond, "how long it works without the mutex")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(*threads + 2)
	printReport(report.Report{Kind: report.Listening})
	var (
		mutex   futexMutex
		waited  atomic.Int64
		running sync.WaitGroup
	)
	for range *threads {
		running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for ctx.Err() == nil {
				start := time.Now()
				mutex.lock()
				waited.Add(int64(time.Since(start)))
				work(*hold)
				mutex.unlock()
				work(*think)
			}
		})
	}
	tick := time.NewTicker(tallyInterval)
	defer tick.Stop()
	for start := time.Now(); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
			end := time.Now()
			printReport(report.Report{Kind: report.Usage, Start: start, End: end, WaitedNs: uint64(waited.Swap(0))})
			start = end
		}
	}
	running.Wait()
	return nil
}

// work takes d, a tenth of it on a CPU and the rest asleep in nanosleep(2), as for a disk or a peer.
func work(d time.Duration) {
	spin(d / 10)
	rest := unix.NsecToTimespec(int64(d - d/10))
	_ = unix.Nanosleep(&rest, nil) // a signal of Go's runtime may end it early
}

// futexMutex is a mutex whose waiters sleep in the kernel: 0 is free, 1 held, 2 held with waiters.
type futexMutex struct{ state atomic.Uint32 }

// The private operations of futex(2).
const (
	futexWaitPrivate = 128
	futexWakePrivate = 129
)

func (m *futexMutex) lock() {
	if m.state.CompareAndSwap(0, 1) {
		return
	}
	for m.state.Swap(2) != 0 {
		// It returns at a wake-up, at a signal, or at once if the state is no longer 2.
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&m.state)), futexWaitPrivate, 2, 0, 0, 0)
	}
}

func (m *futexMutex) unlock() {
	if m.state.Swap(0) != 2 {
		return
	}
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&m.state)), futexWakePrivate, 1, 0, 0, 0)
	if errno != 0 {
		panic(fmt.Sprintf("futex: %v", errno)) // waiters would wait for ever
	}
}
