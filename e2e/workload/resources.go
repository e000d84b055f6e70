package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// burn keeps -threads threads busy, for -duty % of the time; -pin keeps them all on one CPU. It reports the CPU time
// that it used, and the time that its threads waited for a CPU.
func burn(ctx context.Context, flags *flag.FlagSet, args []string) error {
	threads := flags.Int("threads", 1, "how many")
	duration := flags.Duration("for", 5*time.Second, "how long")
	pin := flags.Bool("pin", false, "all on the first CPU that is allowed")
	ready := flags.Bool("ready", false, "report the start")
	duty := flags.Int("duty", 100, "part of the time that a thread is busy, in %")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *ready {
		printReport(report.Report{Kind: report.Listening})
	}
	var one unix.CPUSet
	if *pin {
		var allowed unix.CPUSet
		if err := unix.SchedGetaffinity(0, &allowed); err != nil {
			return fmt.Errorf("CPUs allowed: %w", err)
		}
		for cpu := range len(allowed) * 64 {
			if allowed.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
	}
	runtime.GOMAXPROCS(*threads + 1)
	r := report.Report{Kind: report.Usage, Start: time.Now()}
	var running sync.WaitGroup
	errs := make(chan error, *threads)
	var mu sync.Mutex
	for range *threads {
		running.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with its affinity
			if *pin {
				if err := unix.SchedSetaffinity(0, &one); err != nil {
					errs <- fmt.Errorf("stay on a CPU: %w", err)
					return
				}
			}
			for time.Since(r.Start) < *duration && ctx.Err() == nil {
				if *duty < 100 {
					spin(time.Duration(*duty) * time.Millisecond)
					time.Sleep(time.Duration(100-*duty) * time.Millisecond)
				}
			}
			waited, err := waitedNs()
			if err != nil {
				errs <- err
				return
			}
			mu.Lock()
			defer mu.Unlock()
			r.WaitedNs += waited
		})
	}
	running.Wait()
	r.End = time.Now()
	select {
	case err := <-errs:
		return err
	default:
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	r.UsedNs = uint64(usage.Utime.Nano() + usage.Stime.Nano())
	printReport(r)
	return nil
}

// waitedNs returns the time in ns that this thread has waited for a CPU: the second field of schedstat (proc(5)).
func waitedNs() (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", unix.Gettid()))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, fmt.Errorf("schedstat is %q", b)
	}
	return strconv.ParseUint(string(fields[1]), 10, 64)
}

// hold fills memory and keeps it, until SIGTERM.
func hold(ctx context.Context, flags *flag.FlagSet, args []string) error {
	size := flags.Int("bytes", 64<<20, "how much")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := unix.Mmap(-1, 0, *size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", *size, err)
	}
	printReport(report.Report{Kind: report.Listening})
	<-ctx.Done()
	return unix.Munmap(b)
}

// disk writes a file of -count blocks and reads it block by block, both without the page cache, so that each block is a
// request to a block device. It reports the bytes that it wrote and read, and the duration of the reads. With -for it
// repeats the reads for that long.
func disk(ctx context.Context, flags *flag.FlagSet, args []string) (err error) {
	const block = 4096
	count := flags.Int("count", 100, "blocks of 4096 bytes")
	dir := flags.String("dir", "/", "where to put the file")
	ready := flags.Bool("ready", false, "report the start of the reads")
	length := flags.Duration("for", 0, "how long to repeat the reads; 0: read once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	path := filepath.Join(*dir, "orb8-disk")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_DIRECT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd), unix.Unlink(path)) }()
	// O_DIRECT needs aligned memory; a mapping is page-aligned.
	b, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Munmap(b)) }()
	r := report.Report{Kind: report.Usage, Start: time.Now()}
	for i := range *count {
		*(*uint64)(unsafe.Pointer(&b[0])) = uint64(i)
		n, err := unix.Pwrite(fd, b, int64(i)*block)
		if err != nil || n != block {
			return fmt.Errorf("write block %d: %d, %w", i, n, err)
		}
		r.BytesSent += uint64(n)
	}
	if *ready {
		printReport(report.Report{Kind: report.Listening})
	}
	for began := time.Now(); ; {
		for i := range *count {
			start := time.Now()
			n, err := unix.Pread(fd, b, int64(i)*block)
			if err != nil || n != block || *(*uint64)(unsafe.Pointer(&b[0])) != uint64(i) {
				return fmt.Errorf("read block %d: %d, %w", i, n, err)
			}
			r.WaitedNs += uint64(time.Since(start))
			r.BytesReceived += uint64(n)
		}
		if ctx.Err() != nil || time.Since(began) >= *length {
			break
		}
	}
	r.End = time.Now()
	printReport(r)
	return nil
}
