package main

import (
	"context"
	"errors"
	"flag"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// sysinfo makes one call of sysinfo, which Go's runtime and the other commands never make, and which needs no right.
// The report has the name of its error.
func sysinfo(_ context.Context, flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := report.Report{Kind: report.Syscalls}
	var errno unix.Errno
	if err := unix.Sysinfo(new(unix.Sysinfo_t)); errors.As(err, &errno) {
		r.Error = unix.ErrnoName(errno)
	}
	printReport(r)
	return nil
}
