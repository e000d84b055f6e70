//go:build linux

package rootfs

import (
	"errors"
	"testing"
	"time"
)

func TestGuard_GivesWhatWorkReturns(t *testing.T) {
	g := NewGuard(time.Minute, 1)
	failure := errors.New("failed")
	for range 3 { // each gives its place back
		if n, err := Do(g, func() (int, error) { return 7, failure }, nil); n != 7 || err != failure {
			t.Errorf("%d, %v", n, err)
		}
	}
}

func TestGuard_LeavesHungWorkBehind(t *testing.T) {
	g := NewGuard(time.Millisecond, 2)
	end, discarded := make(chan struct{}), make(chan int, 2)
	hang := func() (int, error) {
		<-end
		return 7, nil
	}
	for range 2 {
		if _, err := Do(g, hang, func(n int) { discarded <- n }); !errors.Is(err, ErrHung) {
			t.Errorf("work that hangs: %v", err)
		}
	}
	if _, err := Do(g, hang, nil); !errors.Is(err, ErrGuardFull) {
		t.Errorf("a third one: %v", err)
	}
	close(end)
	for range 2 {
		select {
		case n := <-discarded:
			if n != 7 {
				t.Errorf("discarded %d", n)
			}
		case <-time.After(time.Minute):
			t.Fatal("a late result is not discarded")
		}
	}
	// Both places are free again.
	for range 2 {
		select {
		case g.slots <- struct{}{}:
		case <-time.After(time.Minute):
			t.Fatal("a place is not given back")
		}
	}
}
