//go:build linux

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// ErrUsage is a wrong command line, which was reported.
var ErrUsage = errors.New("usage")

// Main runs a program of a pod until SIGTERM or SIGINT. Its error is printed, and is the message that Kubernetes shows
// of the container.
func Main(
	name string,
	run func(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error,
) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, ErrUsage):
		os.Exit(2)
	default:
		line := name + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Fprintln(os.Stderr, line)
		WriteTerminationMessage(TerminationLog, line)
		os.Exit(1)
	}
}
