//go:build linux

package gpu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// devices are the device files that the child may open: the driver's, and those without content.
var devices = []string{"/dev/nvidia*", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// Access rights of a rule (include/uapi/linux/landlock.h).
const (
	mayRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	mayReach = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	fileOnly  = unix.LANDLOCK_ACCESS_FS_EXECUTE | mayReach
	abiFirst  = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	abiRefer  = abiFirst | unix.LANDLOCK_ACCESS_FS_REFER
	abiTrunc  = abiRefer | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	abiDevice = abiTrunc | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	scopes    = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
)

// startConfined starts the child. If the kernel has Landlock (Linux 5.13), the child can open only the driver's
// devices, the library and, for reading, this container's files. Otherwise only its user limits it. The restriction
// applies to the thread, from which the child inherits it; then the thread ends.
func startConfined(cmd *exec.Cmd, library *os.File) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := restrictFiles(library); err != nil {
			done <- fmt.Errorf("restrict its files: %w", err)
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}

// restrictFiles restricts this thread and its children permanently.
func restrictFiles(library *os.File) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("ask for Landlock's version: %w", errno)
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handled(int(version))}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if version >= 6 {
		attr.Scoped, size = scopes, unsafe.Offsetof(attr.Quiet_access_fs)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("make a Landlock ruleset: %w", errno)
	}
	ruleset := os.NewFile(fd, "landlock")
	defer ruleset.Close()
	if err := addRules(int(fd), attr.Handled_access_fs, library); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("apply the Landlock ruleset: %w", errno)
	}
	return nil
}

// handled returns the known access rights that a version of Landlock can restrict.
func handled(version int) uint64 {
	switch {
	case version < 2:
		return abiFirst
	case version < 3:
		return abiRefer
	case version < 5:
		return abiTrunc
	}
	return abiDevice
}

// addRules allows reading this container's files except /dev, where it allows only devices.
func addRules(ruleset int, handled uint64, library *os.File) error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "dev" {
			if err := allowPath(ruleset, "/"+e.Name(), handled&mayRead); err != nil {
				return err
			}
		}
	}
	for _, pattern := range devices {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := allowPath(ruleset, path, handled&(mayReach|unix.LANDLOCK_ACCESS_FS_READ_DIR)); err != nil {
				return err
			}
		}
	}
	return allow(ruleset, int(library.Fd()), handled&mayRead&fileOnly)
}

// allowPath allows access to a file, or to all files below a directory. Missing files and dangling links need no rule.
func allowPath(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= fileOnly
	}
	if err := allow(ruleset, fd, access); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func allow(ruleset, fd int, access uint64) error {
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("add a Landlock rule: %w", errno)
	}
	return nil
}
