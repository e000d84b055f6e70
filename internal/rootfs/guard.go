//go:build linux

package rootfs

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrHung is the error of work that did not end in time.
	ErrHung = errors.New("no answer from the file system or the process")
	// ErrGuardFull is the error of work that did not begin because too much hangs already.
	ErrGuardFull = errors.New("too many reads hang")
)

// Guard runs work that may hang: a lookup or a read on a file system whose server does not answer, or a read of a
// process that holds its memory map locked. Such a call cannot be interrupted; the guard leaves it behind with its
// thread, and bounds how many it leaves.
type Guard struct {
	wait  time.Duration
	slots chan struct{}
}

// NewGuard makes a guard that waits so long for each work, and leaves at most so many behind.
func NewGuard(wait time.Duration, hung int) *Guard { return &Guard{wait, make(chan struct{}, hung)} }

// Do runs work in a goroutine and returns its result, or ErrHung if it takes too long. work must use nothing that
// its caller changes afterwards. discard, if not nil, gets the result that came too late, to close it.
func Do[T any](g *Guard, work func() (T, error), discard func(T)) (result T, err error) {
	select {
	case g.slots <- struct{}{}:
	default:
		return result, fmt.Errorf("%w: %d since more than %v", ErrGuardFull, cap(g.slots), g.wait)
	}
	type answer struct {
		result T
		err    error
	}
	answers, late := make(chan answer), make(chan struct{})
	go func() {
		result, err := work()
		<-g.slots // before the answer: who has it may come again at once
		select {
		case answers <- answer{result, err}:
		case <-late:
			if err == nil && discard != nil {
				discard(result)
			}
		}
	}()
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.result, a.err
	case <-timer.C:
		close(late)
		return result, fmt.Errorf("%w within %v", ErrHung, g.wait)
	}
}
