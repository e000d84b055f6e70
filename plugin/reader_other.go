//go:build !unix

package plugin

import "io"

// watchReader is left to the next write's error here.
func watchReader(io.Writer, func()) (stop func()) { return func() {} }
