//go:build unix

package plugin

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watchReader calls gone when the reader of out has closed it. Without it, a trace of quiet pods would notice the end
// of `| head -1` only with its next event. Call stop when done.
func watchReader(out io.Writer, gone func()) (stop func()) {
	file, ok := out.(*os.File)
	if !ok {
		return func() {}
	}
	// Poll cannot be cancelled: it waits for the end of this pipe too.
	over, end, err := os.Pipe()
	if err != nil {
		return func() {} // the next write fails then
	}
	var watch sync.WaitGroup
	watch.Go(func() {
		// Without requested events, poll still reports a closed reader: POLLERR on Linux, POLLHUP on others.
		fds := []unix.PollFd{{Fd: int32(file.Fd())}, {Fd: int32(over.Fd()), Events: unix.POLLIN}}
		for {
			_, err := unix.Poll(fds, -1)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err == nil && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				gone()
			}
			return
		}
	})
	return func() {
		end.Close()
		watch.Wait()
		over.Close()
	}
}
