package kit

import (
	"bytes"
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shellTimeout bounds a command of Shell.
const shellTimeout = 2 * time.Minute

// Shell is a command line that runs in bash, in the root of the repository.
type Shell struct {
	Command string
	cmd     *exec.Cmd
	done    chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// Shell starts a command line with a user's environment, and home as its home directory. It has a process group of its
// own, as in a terminal, and its stdout and stderr are one stream.
func (e *Env) Shell(t testing.TB, home, command string) *Shell {
	t.Helper()
	s := &Shell{Command: command, done: make(chan struct{})}
	s.cmd = exec.Command("bash", "-c", "set -o pipefail\n"+command)
	s.cmd.Dir = e.Root
	s.cmd.Env = append(e.Environ(e.Kubeconfig), "HOME="+home, "LC_ALL=C.UTF-8", "TZ=UTC")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Stdout, s.cmd.Stderr = s, s
	s.cmd.WaitDelay = time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		if err := s.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Errorf("%s: %v", command, err)
		}
	}()
	t.Cleanup(func() {
		s.signal(syscall.SIGKILL)
		<-s.done
	})
	return s
}

// Write appends to the output of the command.
func (s *Shell) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(p)
}

// Output returns what the command has printed so far.
func (s *Shell) Output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// signal sends a signal to the group. Its processes may have ended.
func (s *Shell) signal(signal syscall.Signal) { _ = syscall.Kill(-s.cmd.Process.Pid, signal) }

// Interrupt sends SIGINT to the group, like ^C in a terminal.
func (s *Shell) Interrupt() { s.signal(syscall.SIGINT) }

// Await waits until the output satisfies wanted. It reports whether it does, which it may not if the command ends or
// the time is over.
func (s *Shell) Await(timeout time.Duration, wanted func(output string) bool) bool {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	expired := time.After(timeout)
	for !wanted(s.Output()) {
		select {
		case <-s.done:
			return wanted(s.Output())
		case <-expired:
			return false
		case <-tick.C:
		}
	}
	return true
}

// Wait waits for the end of the command, and returns its exit code: 130 if the interrupt has ended it.
func (s *Shell) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(shellTimeout):
		s.signal(syscall.SIGTERM)
		t.Errorf("%s\nhas not ended after %s", s.Command, shellTimeout)
		<-s.done
	}
	status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() && status.Signal() == syscall.SIGINT {
		return 130
	}
	return s.cmd.ProcessState.ExitCode()
}
