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

// spawn runs the workload's own binary with the arguments -count times, or once for each of report.Hostile, and reports
// each process when it has ended.
func spawn(ctx context.Context, flags *flag.FlagSet, args []string) error {
	count := flags.Int("count", 1, "how many processes, one after another")
	dir := flags.String("dir", "/", "their working directory, made where it is missing")
	hostile := flags.Bool("hostile", false, "with the arguments of report.Hostile in the place of ARGS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	if *hostile {
		return spawnOne(ctx, *dir, append([]string{"noop"}, report.Hostile()...))
	}
	for range *count {
		if err := spawnOne(ctx, *dir, flags.Args()); err != nil {
			return err
		}
	}
	return nil
}

func spawnOne(ctx context.Context, dir string, args []string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0], cmd.Dir = "workload", dir
	r := report.Report{Kind: report.Process, Start: time.Now()}
	err := cmd.Run()
	if cmd.Process == nil {
		return fmt.Errorf("start %q: %w", args, err)
	}
	r.End, r.PID, r.Status = time.Now(), cmd.Process.Pid, uint32(cmd.ProcessState.Sys().(syscall.WaitStatus))
	say(r)
	return nil
}

func noop(context.Context, *flag.FlagSet, []string) error { return nil }

// die ends with a code, or of a signal.
func die(_ context.Context, flags *flag.FlagSet, args []string) error {
	code := flags.Int("code", 1, "exit code")
	signal := flags.Int("signal", 0, "number of the signal to die of")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *signal == 0 {
		os.Exit(*code)
	}
	// As a C program does; Go's runtime would turn a fault into an exit.
	var byDefault [4]uint64 // the kernel's struct sigaction
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(*signal), uintptr(unsafe.Pointer(&byDefault)), 0,
		8, 0, 0); errno != 0 {
		return fmt.Errorf("reset signal %d: %w", *signal, errno)
	}
	if err := unix.Kill(os.Getpid(), unix.Signal(*signal)); err != nil {
		return fmt.Errorf("send signal %d: %w", *signal, err)
	}
	time.Sleep(time.Second) // another thread may be the one that gets it
	return fmt.Errorf("survived signal %d", *signal)
}

// hog fills memory until it has what it asked for, or is killed for it.
func hog(_ context.Context, flags *flag.FlagSet, args []string) error {
	size := flags.Int("bytes", 1<<30, "how much")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := unix.Mmap(-1, 0, *size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", *size, err)
	}
	return fmt.Errorf("%d bytes were there to have", len(b))
}
