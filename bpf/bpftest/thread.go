package bpftest

import (
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OnThread runs f on a thread with this name, which is not the main thread. f must not call the test's Fatal.
func OnThread(tb testing.TB, name string, f func() error) {
	tb.Helper()
	done := make(chan error)
	go onThread(name, f, done)
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

func onThread(name string, f func() error, done chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread's name is the process's. It is held, so that another goroutine gets another thread.
		defer runtime.UnlockOSThread()
		inner := make(chan error)
		go onThread(name, f, inner)
		done <- <-inner
		return
	}
	// Never unlocked: the runtime discards the thread, and with it the name.
	raw, err := unix.BytePtrFromString(name)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(raw)), 0, 0, 0)
	}
	if err == nil {
		err = f()
	}
	done <- err
}

// Comm is the name of this process, that of its main thread.
func Comm(tb testing.TB) string {
	tb.Helper()
	raw, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw[:len(raw)-1])
}
