package render

import (
	"errors"
	"io"
	"syscall"
)

// isBroken reports whether a write failed because nobody reads any more.
func isBroken(err error) bool {
	const errorNoData = syscall.Errno(232) // the pipe is being closed
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, errorNoData) || errors.Is(err, io.ErrClosedPipe)
}
