//go:build !windows

package render

import (
	"errors"
	"io"
	"syscall"
)

// isBroken reports whether a write failed because nobody reads any more.
func isBroken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}
