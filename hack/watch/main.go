// Command watch rebuilds what a change of a file affects, loads the images into the running cluster, and starts
// `kubectl orb8` with its arguments anew:
//
//	go run ./hack/watch trace network -A
//
// A build that fails leaves the old session running, and prints one error. `make watch` starts a cluster first, where
// none is up. ORB8_WATCH_LOAD is the command that loads archives; default: bin/cluster load.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// debounce is how long no file must have changed before a build begins: editors write several, and a checkout many.
const debounce = 300 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "watch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want the arguments of kubectl orb8, such as: trace network -A")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	changes, err := watch(ctx, root)
	if err != nil {
		return err
	}
	s := &session{args: args}
	defer s.stop()
	l := loop{
		debounce: debounce, build: func(ctx context.Context, changed []string) error {
			return execute(ctx, steps(changed, runtime.GOARCH, loadCommand()))
		},
		restart: s.restart, logf: logf,
	}
	return l.run(ctx, changes)
}

func loadCommand() []string {
	if command := strings.Fields(os.Getenv("ORB8_WATCH_LOAD")); len(command) > 0 {
		return command
	}
	return []string{"bin/cluster", "load"}
}

func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "watch: "+format+"\n", args...) }

// execute runs commands, one after another. The error of one that fails has the first error of its output.
func execute(ctx context.Context, commands [][]string) error {
	for _, c := range commands {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 5 * time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %s", strings.Join(c, " "), firstError(string(out), err))
		}
	}
	return nil
}

// session is the `kubectl orb8` that runs.
type session struct {
	args []string
	cmd  *exec.Cmd
}

func (s *session) restart() error {
	s.stop()
	s.cmd = exec.Command(filepath.Join("bin", "kubectl-orb8"), s.args...)
	s.cmd.Stdout, s.cmd.Stderr = io.Writer(os.Stdout), os.Stderr
	// Not in the terminal's group: ^C ends the session through stop, and not twice.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return s.cmd.Start()
}

// stop ends the session as ^C does, and waits until its tracers are deleted.
func (s *session) stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = s.cmd.Wait()                       // 130 is what it exits with
	s.cmd = nil
}
