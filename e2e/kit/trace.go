package kit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Trace is a running `kubectl orb8`.
type Trace struct {
	env *Env
	cmd *exec.Cmd
	// Output is the path of the file with its stdout.
	Output string

	mu     sync.Mutex
	cond   *sync.Cond
	stderr bytes.Buffer
	ended  bool
	done   chan error
}

// Trace starts `kubectl orb8 ARGS` with a user's environment and stdout redirected to a file.
func (e *Env) Trace(t testing.TB, args ...string) *Trace {
	t.Helper()
	return e.TraceAs(t, e.Kubeconfig, args...)
}

// TraceAs is Trace with another user's kubeconfig.
func (e *Env) TraceAs(t testing.TB, kubeconfig string, args ...string) *Trace {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	tr := e.start(t, kubeconfig, out, args...)
	tr.Output = out.Name()
	return tr
}

// TraceTo is Trace with the caller's file or pipe as stdout; Output is empty.
func (e *Env) TraceTo(t testing.TB, stdout *os.File, args ...string) *Trace {
	t.Helper()
	return e.start(t, e.Kubeconfig, stdout, args...)
}

func (e *Env) start(t testing.TB, kubeconfig string, stdout *os.File, args ...string) *Trace {
	t.Helper()
	tr := &Trace{env: e, done: make(chan error, 1)}
	tr.cond = sync.NewCond(&tr.mu)
	path, err := findKubectl(e.Path())
	if err != nil {
		t.Fatal(err)
	}
	if e.Mode != "" && args[0] == "trace" {
		args = append(slices.Clone(args), "--mode="+e.Mode)
	}
	tr.cmd = exec.Command(path, append([]string{"orb8"}, args...)...)
	tr.cmd.Env = e.Environ(kubeconfig)
	tr.cmd.Stdout = stdout
	stderr, err := tr.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for r := bufio.NewReader(stderr); ; {
			line, err := r.ReadString('\n')
			tr.mu.Lock()
			tr.stderr.WriteString(line)
			tr.cond.Broadcast()
			tr.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		<-read
		err := tr.cmd.Wait()
		tr.mu.Lock()
		tr.ended = true
		tr.cond.Broadcast()
		tr.mu.Unlock()
		tr.done <- err
	}()
	t.Cleanup(func() {
		tr.mu.Lock()
		ended := tr.ended
		tr.mu.Unlock()
		if !ended {
			_ = tr.cmd.Process.Kill() // it may have ended meanwhile
			t.Logf("kubectl orb8 had not ended: %v", <-tr.done)
		}
		if t.Failed() {
			t.Logf("kubectl orb8 %s wrote to stderr:\n%s", strings.Join(args, " "), tr.Stderr())
		}
	})
	return tr
}

// findKubectl is exec.LookPath with a PATH other than the test's own.
func findKubectl(path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, "kubectl")
		if info, err := os.Stat(p); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return p, nil
		}
	}
	return "", errors.New("kubectl is not on PATH")
}

// PID returns the pid of the plugin, which kubectl replaces itself with.
func (tr *Trace) PID() int { return tr.cmd.Process.Pid }

// Stderr returns the plugin's stderr so far.
func (tr *Trace) Stderr() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.stderr.String()
}

// Stdout returns what the plugin has written to its output file so far.
func (tr *Trace) Stdout(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// AwaitStderr waits until stderr contains a match and returns it. It fails if the plugin ends without one.
func (tr *Trace) AwaitStderr(t testing.TB, pattern string) string {
	t.Helper()
	return tr.AwaitStderrFor(t, pattern, waitTimeout)
}

// AwaitStderrFor is AwaitStderr with another limit than that of other waits.
func (tr *Trace) AwaitStderrFor(t testing.TB, pattern string, limit time.Duration) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.AfterFunc(limit, func() { _ = tr.cmd.Process.Kill() })
	defer timeout.Stop()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for {
		if m := re.FindString(tr.stderr.String()); m != "" {
			return m
		}
		if tr.ended {
			t.Fatalf("stderr holds no %q:\n%s", pattern, tr.stderr.String())
		}
		tr.cond.Wait()
	}
}

// AwaitStreaming waits until the plugin reports that all nodes stream, and that there are so many. Of installed agents,
// all stream.
func (tr *Trace) AwaitStreaming(t testing.TB, nodes int) {
	t.Helper()
	if tr.env.Mode == ModeCluster {
		nodes = len(tr.env.Nodes)
		tr.AwaitStderr(t, fmt.Sprintf(`(?m)^%d/%d nodes streaming from installed agents`, nodes, nodes))
		return
	}
	tr.AwaitStderr(t, fmt.Sprintf(`(?m)^%d/%d nodes? streaming$`, nodes, nodes))
}

// Signal sends the plugin a signal.
func (tr *Trace) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := tr.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Wait waits for the end of the plugin and returns its exit code, -1 if a signal killed it.
func (tr *Trace) Wait(t testing.TB) int {
	t.Helper()
	select {
	case err := <-tr.done:
		tr.done <- err
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return tr.cmd.ProcessState.ExitCode()
	case <-time.After(waitTimeout):
		t.Fatalf("kubectl orb8 does not end:\n%s", tr.Stderr())
	}
	panic("unreachable")
}

// Stop sends SIGINT, like ^C, and waits for the plugin's orderly end. Output then contains all events that precede the
// call. With --fail-on-loss it fails the test if anything was lost but what NothingLost tolerates.
func (tr *Trace) Stop(t testing.TB) {
	t.Helper()
	tr.Signal(t, syscall.SIGINT)
	code := tr.Wait(t)
	if code == exitLost && lostOnlyBusy(tr.Stderr()) {
		t.Log(tr.Stderr())
		return
	}
	if code != 130 {
		t.Errorf("interrupted trace exits with %d, want 130:\n%s", code, tr.Stderr())
	}
}

// JQ runs a jq program over the array of all lines of stdout and decodes its result.
func (tr *Trace) JQ(t testing.TB, into any, program string, args ...string) {
	t.Helper()
	cmd := exec.Command("jq", append(args, "--slurp", "--compact-output", program, tr.Output)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("jq %q: %v: %s", program, err, stderr.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("jq %q answered %s: %v", program, out, err)
	}
}

// AwaitLines waits until stdout has n lines.
func (tr *Trace) AwaitLines(t testing.TB, n int) {
	t.Helper()
	tr.await(t, fmt.Sprintf("%d lines", n), func() bool { return tr.Lines(t) >= n })
}

// AwaitJQ waits until a jq condition over the array of all lines is true.
func (tr *Trace) AwaitJQ(t testing.TB, condition string, args ...string) {
	t.Helper()
	tr.await(t, condition, func() bool {
		// The file may end in a partial line.
		cmd := exec.Command("jq", append(args, "--raw-input", "--slurp", `split("\n")[:-1] | map(fromjson) | `+
			condition, tr.Output)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("jq %q: %v: %s", condition, err, out)
		}
		return strings.TrimSpace(string(out)) == "true"
	})
}

func (tr *Trace) await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; {
		if done() {
			return
		}
		tr.mu.Lock()
		ended := tr.ended
		tr.mu.Unlock()
		if ended && !done() {
			t.Fatalf("the plugin ended without %s on stdout (%d lines):\n%s", what, tr.Lines(t), tr.Stderr())
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s on stdout after %s (%d lines):\n%s", what, waitTimeout, tr.Lines(t), tr.Stderr())
		}
		time.Sleep(poll)
	}
}

// Lines returns the number of lines on stdout so far.
func (tr *Trace) Lines(t testing.TB) int {
	t.Helper()
	f, err := os.Open(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, b := 0, make([]byte, 64<<10)
	for {
		k, err := f.Read(b)
		n += bytes.Count(b[:k], []byte{'\n'})
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
