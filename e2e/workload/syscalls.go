package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// syscalls makes known numbers of system calls on one thread: -getppid calls of getppid, -absent opens of a path that
// does not exist, and a read that blocks for -block. Start and End of the report are around that read. -rate limits the
// calls of getppid a second, for a load.
func syscalls(ctx context.Context, flags *flag.FlagSet, args []string) error {
	getppid := flags.Int("getppid", 0, "number of getppid calls")
	rate := flags.Int("rate", 0, "getppid calls a second, in bursts of a millisecond; 0: no limit")
	absent := flags.Int("absent", 0, "number of opens of a file that does not exist")
	path := flags.String("path", "/orb8/no such file", "the path of that file")
	block := flags.Duration("block", 0, "how long a read blocks")
	hang := flags.Bool("hang", false, "then read from a pipe that nobody writes to, until SIGTERM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.LockOSThread()
	began := time.Now()
	for i := range *getppid {
		unix.Getppid()
		pace(began, i, *rate)
	}
	for range *absent {
		if fd, err := unix.Open(*path, unix.O_RDONLY, 0); err != unix.ENOENT {
			return fmt.Errorf("open %q: %d, %w", *path, fd, err)
		}
	}
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	r := report.Report{Kind: report.Syscalls, Start: time.Now()}
	if *block > 0 {
		go func() {
			time.Sleep(*block)
			_, _ = unix.Write(p[1], []byte{1})
		}()
		r.Start = time.Now()
		if _, err := unix.Read(p[0], make([]byte, 1)); err != nil {
			return err
		}
	}
	r.End = time.Now()
	printReport(r)
	if *hang {
		go func() {
			runtime.LockOSThread()
			_, _ = unix.Read(p[0], make([]byte, 77))
		}()
		<-ctx.Done()
	}
	return nil
}
