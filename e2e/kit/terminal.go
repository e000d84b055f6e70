package kit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Terminal is `kubectl orb8` in a terminal of a private tmux server. A test sends keys to it and reads its screen.
type Terminal struct {
	dir, socket string
}

// inTerminal is a shell script that runs its arguments and writes into the directory $0: the pid, the exit code and the
// terminal's modes before and after. It then waits, so that the terminal stays open.
const inTerminal = `stty -a >"$0/before"
sh -c 'echo $$ >"$0/pid"; exec "$@"' "$0" "$@"
code=$?
stty -a >"$0/after"
echo $code >"$0/code.new"
mv "$0/code.new" "$0/code"
exec cat >/dev/null`

// Terminal runs `kubectl orb8 ARGS` in a terminal of the given size.
func (e *Env) Terminal(t testing.TB, columns, lines int, args ...string) *Terminal {
	t.Helper()
	dir := t.TempDir()
	x := &Terminal{dir: dir, socket: filepath.Join(dir, "tmux")}
	kubectl, err := findKubectl(e.Path())
	if err != nil {
		t.Fatal(err)
	}
	command := []string{"-S", x.socket, "-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(columns), "-y",
		strconv.Itoa(lines), "-c", dir}
	command = append(command, "sh", "-c", inTerminal, dir, kubectl, "orb8")
	cmd := exec.Command("tmux", append(command, args...)...)
	cmd.Env = append(e.Environ(e.Kubeconfig), "TERM=xterm-256color", "LANG=C.UTF-8", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kubectl orb8 %s has on its screen:\n%s", strings.Join(args, " "), x.Screen(t))
		}
		if _, ended := x.code(); !ended {
			_ = syscall.Kill(x.PID(t), syscall.SIGTERM) // it may have ended
			x.Wait(t)
		}
		x.tmux(t, "kill-server")
	})
	return x
}

func (x *Terminal) tmux(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket, "-u"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Screen returns the lines on the screen.
func (x *Terminal) Screen(t testing.TB) string {
	t.Helper()
	return x.tmux(t, "capture-pane", "-p")
}

// Await waits until the screen satisfies wanted, and returns it.
func (x *Terminal) Await(t testing.TB, what string, wanted func(screen string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; {
		screen := x.Screen(t)
		if wanted(screen) {
			return screen
		}
		if code, ended := x.code(); ended || time.Now().After(deadline) {
			t.Fatalf("%s does not come (ended %v with %q)", what, ended, code)
		}
		time.Sleep(poll) // tmux reports no changes
	}
}

// AwaitText waits until the screen shows a text, and returns it.
func (x *Terminal) AwaitText(t testing.TB, text string) string {
	t.Helper()
	return x.Await(t, strconv.Quote(text), func(screen string) bool { return strings.Contains(screen, text) })
}

// Type presses keys, by tmux's names: "Enter", "Escape", "q".
func (x *Terminal) Type(t testing.TB, keys ...string) {
	t.Helper()
	x.tmux(t, append([]string{"send-keys"}, keys...)...)
}

// Resize sets the size of the terminal.
func (x *Terminal) Resize(t testing.TB, columns, lines int) {
	t.Helper()
	x.tmux(t, "resize-window", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(lines))
}

// PID returns the pid of the plugin.
func (x *Terminal) PID(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(x.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func (x *Terminal) code() (string, bool) {
	b, err := os.ReadFile(filepath.Join(x.dir, "code"))
	return strings.TrimSpace(string(b)), !errors.Is(err, os.ErrNotExist)
}

// Wait waits for the end of the plugin and returns its exit code.
func (x *Terminal) Wait(t testing.TB) int {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; {
		if word, ended := x.code(); ended {
			code, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			return code
		}
		if time.Now().After(deadline) {
			t.Fatalf("the plugin has not ended after %s", waitTimeout)
		}
		time.Sleep(poll)
	}
}

// CheckRestored fails if the plugin, which has ended, did not restore the terminal's modes.
func (x *Terminal) CheckRestored(t testing.TB) {
	t.Helper()
	before, err1 := os.ReadFile(filepath.Join(x.dir, "before"))
	after, err2 := os.ReadFile(filepath.Join(x.dir, "after"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	// Leave out the size, which is the window's and may have changed.
	mode := func(stty []byte) string {
		_, rest, _ := strings.Cut(string(stty), ";")
		_, rest, _ = strings.Cut(rest, ";")
		_, rest, _ = strings.Cut(rest, ";")
		return rest
	}
	if mode(before) != mode(after) {
		t.Errorf("the terminal's modes were\n%s\nand are\n%s", before, after)
	}
	const want = "alternate 0 cursor 1 mouse 0 keypad 0"
	if got := strings.TrimSpace(x.tmux(t, "display-message", "-p",
		"alternate #{alternate_on} cursor #{cursor_flag} mouse #{mouse_any_flag} keypad #{keypad_flag}")); got != want {
		t.Errorf("the terminal is left with %q, want %q", got, want)
	}
}
