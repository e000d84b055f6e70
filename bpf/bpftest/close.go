package bpftest

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
)

// CloseAfter closes c when the test ends, unless the test has closed it.
func CloseAfter(tb testing.TB, c io.Closer) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
			tb.Error(err)
		}
	})
}
