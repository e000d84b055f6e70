//go:build linux

package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// startSleeper starts a process that ends when end is called.
func startSleeper(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	must(t, cmd.Start())
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func TestProcess_ReadsFilesAndRoot(t *testing.T) {
	pid, _ := startSleeper(t)
	p, err := OpenProcess("/proc", pid)
	must(t, err)
	closeAfter(t, p)
	if b, err := p.ReadFile("stat", 4096); err != nil || !strings.HasPrefix(string(b), strconv.Itoa(pid)+" ") {
		t.Errorf("stat: %q, %v", b, err)
	}
	if b, err := p.ReadFile("maps", 16); !errors.Is(err, ErrTooLarge) {
		t.Errorf("maps: %q, %v; want a bound", b, err)
	}
	own, err := OpenRoot("/")
	must(t, err)
	closeAfter(t, own)
	root, err := OpenProcessRoot("/proc", pid)
	must(t, err)
	closeAfter(t, root)
	if same, err := own.SameDirectory(root); err != nil || !same {
		t.Errorf("root: %v, %v", same, err)
	}
}

func TestProcess_EndedIsNotExist(t *testing.T) {
	pid, end := startSleeper(t)
	p, err := OpenProcess("/proc", pid)
	must(t, err)
	closeAfter(t, p)
	end()
	if _, err := p.ReadFile("maps", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("maps: %v", err)
	}
	if _, err := p.Root(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("root: %v", err)
	}
	if _, err := OpenProcessRoot(t.TempDir(), pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that is not there: %v", err)
	}
}

func TestProcess_ReusedPIDIsAnotherProcess(t *testing.T) {
	const lastPID = "/proc/sys/kernel/ns_last_pid"
	pid, end := startSleeper(t)
	p, err := OpenProcess("/proc", pid)
	must(t, err)
	closeAfter(t, p)
	end()
	for range 500 {
		if err := os.WriteFile(lastPID, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skipf("needs the right to choose process numbers: %v", err)
		}
		next, endNext := startSleeper(t)
		if next != pid {
			endNext() // another program was faster
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err != nil {
			t.Fatal(err)
		}
		if b, err := p.ReadFile("stat", 4096); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat is another process's: %q, %v", b, err)
		}
		if _, err := p.Root(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the root is another process's: %v", err)
		}
		return
	}
	t.Skipf("no other process could get the number %d", pid)
}
