package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// reread reads random blocks of a file through the page cache, as a database does. Where the cache is smaller than the
// file, the kernel reclaims pages and reads them from the disk once more. Each interval it reports, as Usage, the bytes
// and the duration of the reads.
func reread(ctx context.Context, flags *flag.FlagSet, args []string) (err error) {
	const block = 4096
	size := flags.Int64("bytes", 64<<20, "size of the file")
	dir := flags.String("dir", "/", "where to put the file")
	every := flags.Duration("every", 0, "pause between two blocks")
	if err := flags.Parse(args); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(*dir, "orb8-reread"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := io.CopyN(f, &payload{left: uint64(*size)}, *size); err != nil {
		return fmt.Errorf("fill %s: %w", f.Name(), err)
	}
	// Dirty pages cannot be reclaimed before they are written.
	if err := f.Sync(); err != nil {
		return err
	}
	printReport(report.Report{Kind: report.Listening})
	b := make([]byte, block)
	r := report.Report{Kind: report.Usage, Start: time.Now()}
	for ctx.Err() == nil {
		start := time.Now()
		n, err := f.ReadAt(b, rand.Int64N(*size/block)*block)
		if err != nil {
			return err
		}
		end := time.Now()
		r.WaitedNs += uint64(end.Sub(start))
		r.BytesReceived += uint64(n)
		if end.Sub(r.Start) >= tallyInterval {
			r.End = end
			printReport(r)
			r = report.Report{Kind: report.Usage, Start: end}
		}
		if *every > 0 {
			time.Sleep(*every)
		}
	}
	return nil
}
