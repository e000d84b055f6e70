package main

import (
	"runtime"
	"sync"
	"testing"
)

func TestFutexMutex_ExcludesThreads(t *testing.T) {
	const threads, rounds = 4, 2000
	var (
		mutex   futexMutex
		counter int
		running sync.WaitGroup
	)
	for range threads {
		running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for range rounds {
				mutex.lock()
				n := counter
				runtime.Gosched() // others run while the mutex is held
				counter = n + 1
				mutex.unlock()
			}
		})
	}
	running.Wait()
	if counter != threads*rounds {
		t.Errorf("%d increments, want %d", counter, threads*rounds)
	}
}
