package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/console"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// stepTimeout bounds a command of a page.
const stepTimeout = 60 * time.Second

// TestDocs executes the commands of the README and the tutorials, and compares their output with what the pages show.
// ORB8_UPDATE=1 writes the new output into the pages.
func TestDocs(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	pages, err := filepath.Glob(filepath.Join(e.Root, "docs", "tutorials", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	shop(t, e)
	for _, path := range append(pages, filepath.Join(e.Root, "README.md")) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			executePage(t, e, path)
		})
	}
}

// shop starts the application that the pages trace.
func shop(t *testing.T, e *kit.Env) {
	t.Helper()
	c := &commands{env: e, home: t.TempDir()}
	const remove = "kubectl delete namespace shop --ignore-not-found --wait=false"
	t.Cleanup(func() { c.run(t, remove, nil) })
	for _, command := range []string{
		"kubectl create namespace shop --dry-run=client -o yaml | kubectl apply -f -",
		"kubectl apply -n shop -f hack/demo.yaml",
		"kubectl rollout status -n shop deployment/web deployment/shop --timeout 60s",
	} {
		if r := c.run(t, command, nil); r.code != 0 {
			t.Fatalf("%s: exit code %d\n%s", command, r.code, r.output)
		}
	}
}

// executePage executes the blocks of a page in their order.
func executePage(t *testing.T, e *kit.Env, path string) {
	page, err := console.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &commands{env: e, home: t.TempDir(), renewed: map[*console.Step][]string{}}
	for _, b := range page.Blocks {
		if b.Skip != "" {
			continue
		}
		for _, s := range b.Steps {
			c.step(t, b, s)
		}
	}
	if os.Getenv("ORB8_UPDATE") == "" {
		return
	}
	if err := os.WriteFile(path, []byte(page.Update(c.renewed)), 0o644); err != nil {
		t.Error(err)
	}
}

// commands executes the commands of a page as a reader with a shell in the root of the repository.
type commands struct {
	env     *kit.Env
	home    string
	renewed map[*console.Step][]string
}

type result struct {
	output string
	code   int
	took   time.Duration
}

// step executes a command and checks its exit code and output.
func (c *commands) step(t *testing.T, b *console.Block, s *console.Step) {
	t.Helper()
	var stop func(printed string) bool
	switch {
	case s.Interrupted:
		before := s.Output[:slices.Index(s.Output, "^C")]
		stop = func(printed string) bool {
			missing, _ := console.Compare(before, console.Cut(lines(printed), b.Columns))
			return len(missing) == 0
		}
	case !s.ShowsOutput:
		// Without --duration the reader ends a trace.
		stop = func(printed string) bool { return strings.Contains(printed, " streaming\n") }
	}
	r := c.run(t, s.Command, stop)
	t.Logf("%.1f s: %s", r.took.Seconds(), s.Command)
	shown := strings.Join(s.Output, "\n")
	if failed := strings.HasPrefix(shown, "error: ") || strings.Contains(shown, "\nerror: "); failed != (r.code != 0) &&
		!(r.code == 130 && stop != nil) {
		t.Errorf("%s\nexit code %d\n%s", s.Command, r.code, r.output)
	}
	if !s.ShowsOutput {
		return
	}
	printed := console.Cut(lines(r.output), b.Columns)
	c.renewed[s] = console.Renew(s.Output, printed)
	if missing, added := console.Compare(s.Output, printed); len(missing)+len(added) > 0 {
		t.Errorf("%s\nthe page shows, and it does not print:\n\t%s\nit prints, and the page does not show:\n\t%s\n"+
			"its output:\n%s", s.Command, strings.Join(missing, "\n\t"), strings.Join(added, "\n\t"),
			strings.Join(printed, "\n"))
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// run executes a command. It is interrupted once its output satisfies stop.
func (c *commands) run(t *testing.T, command string, stop func(printed string) bool) result {
	t.Helper()
	cmd := exec.Command("bash", "-c", "set -o pipefail\n"+command)
	cmd.Dir = c.env.Root
	cmd.Env = append(c.env.Environ(c.env.Kubeconfig), "HOME="+c.home, "LC_ALL=C.UTF-8", "TZ=UTC")
	// A group of its own gets the interrupt, like the foreground of a terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output buffer
	output.grown = func(printed string) {
		if stop != nil && stop(printed) {
			stop = nil
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // it may have ended
		}
	}
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(stepTimeout, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) })
	err := cmd.Wait()
	if !timeout.Stop() {
		t.Errorf("%s\nhas not ended after %s", command, stepTimeout)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", command, err)
	}
	r := result{output: output.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(start)}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGINT {
		r.code = 130
	}
	return r
}

// buffer holds a command's output, and reports it as it grows.
type buffer struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	grown func(printed string)
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes.Write(p)
	b.grown(b.bytes.String())
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.String()
}
