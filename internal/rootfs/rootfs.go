//go:build linux

// Package rootfs opens files below a root directory whose content someone else controls: the root of a process, of a
// container or of the node. It is the only way to such files. Path lookup never leaves the root, and nothing but a
// regular file is opened: open(2) of a FIFO blocks, and open(2) of a device has effects.
//
// A lookup or a read can still hang where the file system waits for a server (NFS, FUSE): see Guard.
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotRegular is the error of a path that leads to a directory, a FIFO, a socket or a device, or to a file that a
	// kernel interface provides (procfs, sysfs and the like), whose reads may block or have effects.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge is the error of a file that holds more than the caller reads.
	ErrTooLarge = errors.New("file too large")
)

// Root is a directory that path lookup does not leave, whatever symbolic links and ".." say.
type Root struct{ dir *os.File }

// OpenRoot opens a root directory. The path itself is the caller's and trusted: it may lead through magic links, as
// /proc/1/root is one.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Root{os.NewFile(uintptr(fd), path)}, nil
}

// OpenProcessRoot opens the root directory of a process. proc is where procfs is mounted. Where the process has ended,
// it fails, also if another process has got its number meanwhile; use OpenProcess to read other files of the same
// process.
func OpenProcessRoot(proc string, pid int) (*Root, error) {
	p, err := OpenProcess(proc, pid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }() // nothing was written to it
	return p.Root()
}

// Name is the path that the root was opened by.
func (r *Root) Name() string { return r.dir.Name() }

// Close releases the directory. Files opened below it stay open.
func (r *Root) Close() error { return r.dir.Close() }

// SameDirectory reports whether two roots are one directory. Bind mounts of a directory are the same directory.
func (r *Root) SameDirectory(other *Root) (bool, error) {
	var a, b unix.Stat_t
	if err := unix.Fstat(int(r.dir.Fd()), &a); err != nil {
		return false, r.pathError("stat", "/", err)
	}
	if err := unix.Fstat(int(other.dir.Fd()), &b); err != nil {
		return false, other.pathError("stat", "/", err)
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// Open opens a regular file for reading. Absolute paths and absolute symbolic links begin at the root.
func (r *Root) Open(path string) (*os.File, error) {
	handle, err := r.Lookup(path)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	if err := regular(int(handle.Fd())); err != nil {
		return nil, r.pathError("open", path, err)
	}
	// This opens the file that was just examined, and not whatever its path leads to by now.
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(handle.Fd())), flags, 0)
	if err != nil {
		return nil, r.pathError("open", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadFile reads a regular file of at most max bytes. It fails with ErrTooLarge past that, before it reads anything
// where the file's size tells.
func (r *Root) ReadFile(path string, max int64) ([]byte, error) {
	f, err := r.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() > max {
		return nil, r.pathError("read", path, ErrTooLarge)
	}
	b, err := readAll(f, max)
	if err != nil {
		return nil, r.pathError("read", path, err)
	}
	return b, nil
}

// maxLookups bounds how often a lookup is repeated that a concurrent rename made fail.
const maxLookups = 8

// Lookup finds what a path leads to, of any type, without opening it (O_PATH): its Stat and its place in
// /proc/self/fd are of use, its content cannot be read.
func (r *Root) Lookup(path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range maxLookups {
		fd, err := unix.Openat2(int(r.dir.Fd()), path, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		default:
			return nil, r.pathError("open", path, err)
		}
	}
	return nil, r.pathError("open", path, unix.EAGAIN)
}

func (r *Root) pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: fmt.Sprintf("%s in %s", path, r.dir.Name()), Err: err}
}

// kernelInterfaces are file systems whose regular files are none: to read one may block or have an effect.
var kernelInterfaces = map[int64]bool{
	unix.PROC_SUPER_MAGIC: true, unix.SYSFS_MAGIC: true, unix.DEBUGFS_MAGIC: true, unix.TRACEFS_MAGIC: true,
	unix.CGROUP_SUPER_MAGIC: true, unix.CGROUP2_SUPER_MAGIC: true, unix.SECURITYFS_MAGIC: true, unix.BPF_FS_MAGIC: true,
	unix.SELINUX_MAGIC: true, unix.SMACK_MAGIC: true, unix.EFIVARFS_MAGIC: true, unix.PSTOREFS_MAGIC: true,
	unix.BINFMTFS_MAGIC: true, unix.NSFS_MAGIC: true, unix.RDTGROUP_SUPER_MAGIC: true, configfs: true,
}

const configfs = 0x62656570

func regular(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrNotRegular
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(fd, &system); err != nil {
		return err
	}
	if kernelInterfaces[system.Type] {
		return ErrNotRegular
	}
	return nil
}

// readAll reads at most max bytes. The file may grow meanwhile.
func readAll(r io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, ErrTooLarge
	}
	return b, nil
}
