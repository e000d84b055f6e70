//go:build linux

package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Process is the directory of a process in procfs. What is read through it is of one process: when that has ended, all
// methods fail, even if another process has got its number.
type Process struct {
	dir *os.File
	pid int
}

// OpenProcess opens the directory of a process below proc, where procfs is mounted.
func OpenProcess(proc string, pid int) (*Process, error) {
	path := filepath.Join(proc, strconv.Itoa(pid))
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Process{os.NewFile(uintptr(fd), path), pid}, nil
}

// PID is the number that the process was opened by.
func (p *Process) PID() int { return p.pid }

// Close releases the directory.
func (p *Process) Close() error { return p.dir.Close() }

// UID is the user that the process runs as. Of one that may not be dumped, it is root.
func (p *Process) UID() (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(p.dir.Fd()), &stat); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: p.dir.Name(), Err: ended(err)}
	}
	return stat.Uid, nil
}

// Open opens one of the files that the kernel provides of the process, such as "maps".
func (p *Process) Open(name string) (*os.File, error) {
	path := filepath.Join(p.dir.Name(), name)
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ended(err)}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadFile reads one of the files that the kernel provides of the process, of at most max bytes. It fails with
// ErrTooLarge past that: a process decides on the length of its command line, its mappings and its mounts.
func (p *Process) ReadFile(name string, max int64) ([]byte, error) {
	f, err := p.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, max)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), ended(err))
	}
	return b, nil
}

// Root opens the root directory of the process.
func (p *Process) Root() (*Root, error) {
	path := filepath.Join(p.dir.Name(), "root")
	fd, err := unix.Openat(int(p.dir.Fd()), "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ended(err)}
	}
	return &Root{os.NewFile(uintptr(fd), path)}, nil
}

// ended maps the error of an ended process to fs.ErrNotExist. The kernel returns ESRCH for a directory that was opened
// before the process ended.
func ended(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fs.ErrNotExist
	}
	return err
}

// ReadKernelFile reads a file of procfs or of a cgroup, of at most max bytes. The path is the caller's own: a container
// may decide on the file's length, but not on its path.
func ReadKernelFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, max)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ended(err)}
	}
	return b, nil
}
