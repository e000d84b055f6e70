//go:build linux

package rootfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTestRoot gives a root with a secret beside it: dir/root and dir/secret.
func openTestRoot(t *testing.T) (r *Root, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // short, for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	write(t, filepath.Join(dir, "secret"), "secret")
	write(t, filepath.Join(dir, "root/usr/lib/lib.so.1"), "library")
	if r, err = OpenRoot(filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	closeAfter(t, r)
	return r, dir
}

// closeAfter closes c when the test ends.
func closeAfter(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() { must(t, c.Close()) })
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withDeadline fails the test where f blocks.
func withDeadline(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("open or read blocks")
	}
}

func TestRoot_OpenStaysBelowTheRoot(t *testing.T) {
	r, dir := openTestRoot(t)
	root := filepath.Join(dir, "root")
	for name, target := range map[string]string{
		"out-relative":   "../../secret",
		"out-absolute":   filepath.Join(dir, "secret"),
		"out-directory":  "..",
		"in-absolute":    "/usr/lib/lib.so.1",
		"in-relative":    "usr/lib/lib.so.1",
		"in-from-parent": "../../../../usr/lib/lib.so.1",
		"loop":           "loop",
	} {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
	for _, path := range []string{
		"/usr/lib/lib.so.1", "usr/lib/lib.so.1", "/../usr/lib/lib.so.1", "in-absolute", "in-relative", "in-from-parent",
	} {
		if b, err := r.ReadFile(path, 100); err != nil || string(b) != "library" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	for path, want := range map[string]error{
		"out-relative": fs.ErrNotExist, "out-absolute": fs.ErrNotExist, "out-directory/secret": fs.ErrNotExist,
		"../secret": fs.ErrNotExist, "loop": unix.ELOOP, "missing": fs.ErrNotExist, "usr/lib/lib.so.1/x": unix.ENOTDIR,
	} {
		if b, err := r.ReadFile(path, 100); !errors.Is(err, want) {
			t.Errorf("%s: %q, %v; want %v", path, b, err, want)
		}
	}
}

func TestRoot_OpenTakesRegularFilesOnly(t *testing.T) {
	r, dir := openTestRoot(t)
	root := filepath.Join(dir, "root")
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o666))
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	must(t, err)
	closeAfter(t, l)
	must(t, os.Symlink("/fifo", filepath.Join(root, "link-to-fifo")))
	paths := []string{"fifo", "link-to-fifo", "socket", "usr/lib", "/", "."}
	if err := unix.Mknod(filepath.Join(root, "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err == nil {
		paths = append(paths, "device")
	} else if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	withDeadline(t, func() {
		for _, path := range paths {
			if f, err := r.Open(path); !errors.Is(err, ErrNotRegular) {
				t.Errorf("%s: %v, %v", path, f, err)
			}
			if _, err := r.ReadFile(path, 1); !errors.Is(err, ErrNotRegular) {
				t.Errorf("read %s: %v", path, err)
			}
		}
	})
}

func TestRoot_OpenRefusesKernelInterfaces(t *testing.T) {
	r, err := OpenRoot("/")
	must(t, err)
	closeAfter(t, r)
	for _, path := range []string{"/proc/version", "/sys/kernel/notes"} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if _, err := r.Open(path); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/proc/self/root/etc/passwd", "/proc/self/exe", "/proc/self/cwd/rootfs.go"} {
		if f, err := r.Open(path); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v, %v; want no magic link followed", path, f, err)
		}
	}
}

func TestRoot_ReadFileIsBounded(t *testing.T) {
	r, dir := openTestRoot(t)
	sparse := filepath.Join(dir, "root/sparse")
	write(t, sparse, "")
	must(t, os.Truncate(sparse, 1<<40))
	for path, max := range map[string]int64{"sparse": 1 << 20, "usr/lib/lib.so.1": int64(len("library") - 1)} {
		if b, err := r.ReadFile(path, max); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	if b, err := r.ReadFile("usr/lib/lib.so.1", int64(len("library"))); err != nil || string(b) != "library" {
		t.Errorf("a file of the size allowed: %q, %v", b, err)
	}
	// A file grows after its size was seen. Its reader, and not its size, is the bound.
	if b, err := readAll(bytes.NewReader(make([]byte, 100)), 99); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file that grows: %d bytes, %v", len(b), err)
	}
	if n := testing.AllocsPerRun(1, func() { _, _ = readAll(endless{}, 1<<20) }); n > 100 {
		t.Errorf("an endless file: %v allocations", n)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestRoot_ErrorsNameThePathAndTheRoot(t *testing.T) {
	r, dir := openTestRoot(t)
	_, err := r.Open("usr/lib")
	if want := "open usr/lib in " + dir + "/root: not a regular file"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	if _, err := OpenRoot(filepath.Join(dir, "secret")); err == nil ||
		!strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file as root: %v", err)
	}
}

func TestRoot_SameDirectory(t *testing.T) {
	r, dir := openTestRoot(t)
	must(t, os.Symlink("root", filepath.Join(dir, "link")))
	for path, want := range map[string]bool{"link": true, "root": true, "root/usr": false} {
		other, err := OpenRoot(filepath.Join(dir, path))
		must(t, err)
		if same, err := r.SameDirectory(other); err != nil || same != want {
			t.Errorf("%s: %v, %v", path, same, err)
		}
		must(t, other.Close())
	}
}
