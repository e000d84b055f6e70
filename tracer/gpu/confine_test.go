//go:build linux

package gpu

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// openFor lets other users look into a test's directory.
func openFor(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/" && dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// build runs a compiler in a directory of this module.
func build(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// TestConfine_HostileLibrary runs the real child with a library whose constructor attacks.
func TestConfine_HostileLibrary(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: other users have no capabilities that the child can drop")
	}
	dir := t.TempDir()
	openFor(t, dir)
	child, file, secret := filepath.Join(dir, "orb8-nvml"), filepath.Join(dir, "hostile.so"),
		filepath.Join(dir, "secret")
	build(t, "../..", "hack/go", "build", "-o", child, "./cmd/orb8-nvml")
	build(t, ".", "gcc", "-shared", "-fPIC", "-o", file, "testdata/hostile.c")
	write(t, secret, "the node's")
	chmod(t, secret, 0o600)
	device := filepath.Join("/dev", filepath.Base(dir)+t.Name())
	if err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil { // zero's, by another name
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(device); err != nil {
			t.Error(err)
		}
	})
	chmod(t, device, 0o666)
	t.Setenv("HOSTILE_DEVICE", device)
	t.Setenv("HOSTILE_SECRET", secret)
	library, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()

	p := &Probe{o: Options{Child: child, Interval: time.Second}}
	err = p.child(t.Context(), library, func(*event.Event) {})
	if err == nil {
		t.Fatal("the library did not run")
	}
	got := err.Error() + " "
	for _, want := range []string{
		"socket=EPERM", "execve=EPERM", "fork=EPERM", "ptrace=EPERM", "userns=EPERM", "bpf=EPERM", "setuid=EPERM",
		"kill=EPERM",
		"secret=EACCES", "null=done", "Uid:60908", "CapPrm:0000000000000000", "CapEff:0000000000000000",
		"CapAmb:0000000000000000", "NoNewPrivs:1", "Seccomp:2",
	} {
		if !strings.Contains(got, want+" ") {
			t.Errorf("want %s: %s", want, got)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION); errno == 0 &&
		!strings.Contains(got, "device=EACCES ") {
		t.Errorf("a device that is not the driver's can be opened: %s", got)
	}
}
