package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// down removes the cluster: processes, mounts, namespaces and links, cgroups, files. It also removes the rest of a
// killed run, and does nothing if there is nothing to remove.
func (c *cluster) down(ctx context.Context) error {
	if err := errors.Join(c.killAll(), c.unmountAll(), c.unwire(ctx), c.removeCgroups()); err != nil {
		return err
	}
	for _, path := range c.litter() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Remove the record of the settings last, so that an interrupted down can be repeated.
	if err := c.restore(); err != nil {
		return fmt.Errorf("restore the machine's settings: %w", err)
	}
	return os.RemoveAll(c.dir)
}

// killAll first kills the processes of the pid files, so that they start no others, and then all other processes of
// ours.
func (c *cluster) killAll() error {
	var errs []error
	for _, p := range c.components() {
		errs = append(errs, c.kill(p))
	}
	// A shim that is killed while it forks leaves a child, so repeat until there is none.
	errs = append(errs, poll(20*time.Second, "all processes of the cluster end", func() bool {
		strays := c.strays()
		for _, r := range strays {
			if r.alive() {
				_ = syscall.Kill(r.pid, syscall.SIGKILL) // it may have ended; the next poll lists it otherwise
			}
		}
		return len(strays) == 0
	}))
	return errors.Join(errs...)
}

// unmountAll unmounts all mount points below the state directory, the last mounted first. It fails if one stays
// mounted, since down deletes the files below the directory.
func (c *cluster) unmountAll() error {
	below := func() ([]string, error) {
		mountinfo, err := os.ReadFile("/proc/self/mountinfo")
		return mountsBelow(string(mountinfo), c.dir), err
	}
	points, err := below()
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		// A mount point can be gone already, by propagation of another unmount.
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) &&
			!errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	if points, err = below(); err == nil && len(points) > 0 {
		err = fmt.Errorf("still mounted: %s", strings.Join(points, ", "))
	}
	return err
}

// mountsBelow lists the mount points below a directory in the order they were mounted.
func mountsBelow(mountinfo, dir string) []string {
	var points []string
	for _, line := range strings.Split(mountinfo, "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			// The kernel writes space, tab, line feed and backslash in octal.
			points = append(points, strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`,
				`\`).Replace(fields[4]))
		}
	}
	return points
}
