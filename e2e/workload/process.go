package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// spawn runs the workload's own binary with the arguments -count times, or once with those of report.Hostile, and
// reports each process when it has ended.
func spawn(ctx context.Context, flags *flag.FlagSet, args []string) error {
	count := flags.Int("count", 1, "how many processes, one after another")
	dir := flags.String("dir", "/", "their working directory, created if missing")
	pause := flags.Duration("pause", 0, "time between two of them; then it reports its start")
	program := flags.String("program", "/proc/self/exe", "path of the workload's binary")
	hostile := flags.Bool("hostile", false, "use the arguments of report.Hostile instead of ARGS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	if *hostile {
		return spawnOne(ctx, *program, *dir, append([]string{"noop"}, report.Hostile()...))
	}
	if *pause > 0 {
		printReport(report.Report{Kind: report.Listening})
	}
	for range *count {
		if err := spawnOne(ctx, *program, *dir, flags.Args()); err != nil {
			return err
		}
		if *pause == 0 {
			continue
		}
		select {
		case <-time.After(*pause):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func spawnOne(ctx context.Context, program, dir string, args []string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Args[0], cmd.Dir = "workload", dir
	r := report.Report{Kind: report.Process, Start: time.Now()}
	err := cmd.Run()
	if cmd.Process == nil {
		return fmt.Errorf("start %q: %w", args, err)
	}
	r.End, r.PID, r.Status = time.Now(), cmd.Process.Pid, uint32(cmd.ProcessState.Sys().(syscall.WaitStatus))
	printReport(r)
	return nil
}

func noop(context.Context, *flag.FlagSet, []string) error { return nil }

// die exits with a code, or kills itself by a signal.
func die(_ context.Context, flags *flag.FlagSet, args []string) error {
	code := flags.Int("code", 1, "exit code")
	signal := flags.Int("signal", 0, "number of the signal to die of")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *signal == 0 {
		os.Exit(*code)
	}
	// The default action, as in a C program: Go's runtime would turn a fault into an exit.
	var byDefault [4]uint64 // the kernel's struct sigaction
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(*signal), uintptr(unsafe.Pointer(&byDefault)), 0,
		8, 0, 0); errno != 0 {
		return fmt.Errorf("reset signal %d: %w", *signal, errno)
	}
	if unix.Signal(*signal) == unix.SIGSEGV {
		// The first process of a container ignores a signal that is sent, but not a fault.
		var nowhere *byte
		*nowhere = 0
	}
	if err := unix.Kill(os.Getpid(), unix.Signal(*signal)); err != nil {
		return fmt.Errorf("send signal %d: %w", *signal, err)
	}
	time.Sleep(time.Second) // the signal may be delivered to another thread
	return fmt.Errorf("survived signal %d", *signal)
}

// hog allocates memory beyond the limit of its container: it fails if it is not killed.
func hog(_ context.Context, flags *flag.FlagSet, args []string) error {
	size := flags.Int("bytes", 1<<30, "how much")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := unix.Mmap(-1, 0, *size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", *size, err)
	}
	return fmt.Errorf("allocated %d bytes without being killed", len(b))
}
