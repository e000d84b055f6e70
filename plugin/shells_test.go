package plugin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/plugin/complete"
	"github.com/orb8-dev/kubectl-orb8/plugin/internal/fakeapi"
)

// asPlugin makes the test's program run as the plugin.
const asPlugin = "ORB8_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestShells_Complete presses Tab in real shells, where the real kubectl completes words of the plugin.
// ORB8_TEST_SHELLS, which `make test-completion` sets, makes a missing program a failure.
func TestShells_Complete(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it knows the files of Debian's packages")
	}
	server := fakeapi.New(t)
	fill(t, server)
	kubeconfig := shop(t, server.Config().Host)
	bin := programs(t)
	for shell, start := range map[string]struct{ arguments, setup string }{
		"bash": {"--norc --noprofile", ". " + bashCompletion + "; " +
			". <(kubectl completion bash); . <(kubectl-orb8 completion bash)"},
		"zsh": {"-f", "autoload -U compinit; compinit -u -D; . <(kubectl completion zsh); " +
			". <(kubectl-orb8 completion zsh)"},
		"fish": {"--no-config", "kubectl completion fish | source; kubectl-orb8 completion fish | source"},
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if shell == "bash" {
				findProgram(t, bashCompletion)
			}
			s := newScreen(t, bin, kubeconfig, findProgram(t, shell)+" "+start.arguments)
			s.enter(start.setup)
			s.complete("kubectl orb8 tr", "kubectl orb8 trace")
			s.complete("kubectl orb8 trace network we", "kubectl orb8 trace network web-0")
			s.complete("kubectl orb8 trace network -n sto", "kubectl orb8 trace network -n storage")
			s.complete("kubectl orb8 trace network --sort-by=-srtt", "kubectl orb8 trace network --sort-by=-srttMicros")
			s.complete("kubectl orb8 trace network --filter dst.por", "kubectl orb8 trace network --filter dst.port")
			s.complete("kubectl-orb8 top network --group work", "kubectl-orb8 top network --group workload")
			if shell == "bash" { // which escapes commas
				s.complete("kubectl orb8 trace network -o custom-columns=src.pod,srttM",
					`kubectl orb8 trace network -o custom-columns=src.pod\,srttMicros`)
			}
		})
	}
}

// bashCompletion is the script of the package bash-completion, which kubectl's script for bash needs.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// findProgram returns the path of a program or file. Without it the test is skipped, or fails where it must run.
func findProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if filepath.IsAbs(name) {
		path = name
		_, err = os.Stat(name)
	}
	if err != nil && os.Getenv("ORB8_TEST_SHELLS") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("%v: make install-deps installs the shells", err)
	}
	return path
}

// programs returns a directory with kubectl, the plugin and the script by which kubectl completes its words.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	findProgram(t, "tmux")
	if err := os.Symlink(realKubectl(t), filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plugin := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asPlugin, self)
	if err := os.WriteFile(filepath.Join(bin, "kubectl-orb8"), []byte(plugin), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := complete.InstallScript(bin); err != nil {
		t.Fatal(err)
	}
	return bin
}

// realKubectl prefers the kubectl that the test cluster was built with.
func realKubectl(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("ORB8_CACHE")
	if home, err := os.UserCacheDir(); cache == "" && err == nil {
		cache = filepath.Join(home, "orb8-e2e")
	}
	if built, err := filepath.Glob(filepath.Join(cache, "kubernetes-*", "kubectl")); err == nil && len(built) > 0 {
		return built[len(built)-1]
	}
	return findProgram(t, "kubectl")
}

// screen is a shell in a terminal of tmux.
type screen struct {
	*testing.T
	socket string
}

// newScreen starts a shell.
func newScreen(t *testing.T, bin, kubeconfig, shell string) *screen {
	t.Helper()
	s := &screen{t, filepath.Join(t.TempDir(), "tmux")}
	home := t.TempDir()
	command := fmt.Sprintf("exec env -i HOME=%s TERM=screen LANG=C.UTF-8 PATH=%s:/usr/bin:/bin KUBECONFIG=%s %s", home,
		bin, kubeconfig, shell)
	s.tmux("-f", os.DevNull, "new-session", "-d", "-x", "200", "-y", "50", command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", s.socket, "kill-server").Run() })
	return s
}

func (s *screen) tmux(args ...string) string {
	s.Helper()
	out, err := exec.CommandContext(s.Context(), "tmux", append([]string{"-S", s.socket}, args...)...).CombinedOutput()
	if err != nil {
		s.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// enter runs a command, and waits for its end.
func (s *screen) enter(command string) {
	s.Helper()
	s.tmux("send-keys", "-l", command+`; printf '%s%s\n' rea dy`)
	s.tmux("send-keys", "Enter")
	s.wait("ready", func(lines []string) bool {
		for _, line := range lines {
			if line == "ready" {
				return true
			}
		}
		return false
	})
}

// complete types a line and Tab, waits for the completed line, and deletes it. Shells differ in whether a space
// follows.
func (s *screen) complete(typed, want string) {
	s.Helper()
	s.tmux("send-keys", "C-l")
	s.tmux("send-keys", "-l", typed)
	s.tmux("send-keys", "Tab")
	s.tmux("send-keys", "-l", "#") // no shell completes this
	s.wait(want, func(lines []string) bool {
		return strings.HasSuffix(strings.TrimRight(strings.TrimSuffix(lines[0], "#"), " "), " "+want)
	})
	s.tmux("send-keys", "C-e", "C-u")
}

// wait waits until the screen's lines are as wanted.
func (s *screen) wait(want string, ok func(lines []string) bool) {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		text := s.tmux("capture-pane", "-p", "-N")
		lines := strings.Split(text, "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		if ok(lines) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("no %q on the screen:\n%s", want, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
