package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// mapLibrary maps a file as executable, as the dynamic linker maps a library's code. It waits for the file, which the
// test creates later.
func mapLibrary(ctx context.Context, flags *flag.FlagSet, args []string) error {
	path := flags.String("file", "", "the file to map")
	if err := flags.Parse(args); err != nil {
		return err
	}
	printReport(report.Report{Kind: report.Listening})
	var f *os.File
	for {
		var err error
		if f, err = os.Open(*path); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	defer f.Close()
	if _, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_EXEC,
		syscall.MAP_PRIVATE); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
