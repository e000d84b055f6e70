//go:build linux

// Command orb8-tracer runs on a node, in a pod that kubectl-orb8 starts there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/orb8-dev/kubectl-orb8/internal/host"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
)

const usage = `usage:
  orb8-tracer session   serve one kubectl orb8, which sets the environment
  orb8-tracer doctor    print what a session could do on this node, for kubectl orb8 doctor, which sets the environment
  orb8-tracer version   print the version`

var errUsage = errors.New(usage)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	// Here, since it is about the whole process: beside a test of run nothing else would get a CPU on a busy machine.
	if err := host.YieldToPods(); err != nil {
		fmt.Fprintln(os.Stderr, "orb8-tracer: it may disturb the pods of a busy node:", err)
	}
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		line := "orb8-tracer: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Fprintln(os.Stderr, line)
		host.WriteTerminationMessage(host.TerminationLog, line)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) != 1 {
		return errUsage
	}
	switch args[0] {
	case "session":
		return serve(ctx, getenv, stdout, stderr)
	case "doctor":
		return doctor(ctx, getenv, stdout)
	case "version", "--version":
		_, err := fmt.Fprintln(stdout, version.Version())
		return err
	default:
		return errUsage
	}
}
