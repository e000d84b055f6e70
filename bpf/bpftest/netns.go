package bpftest

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// InNetns runs f on a thread of its own in a new network namespace with loopback up. Sockets that f makes on its own
// goroutine belong to it, and go on to when f has returned. f must not call the test's Fatal.
func InNetns(tb testing.TB, f func() error) {
	tb.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the runtime throws the thread away, and with it the way into the namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		if err := LoopbackUp(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}
