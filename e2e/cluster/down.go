package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// down takes everything away: processes, mounts, namespaces and links, cgroups, files. It works on whatever a killed run has
// left, and does nothing where there is nothing.
func (c *cluster) down(ctx context.Context) error {
	sockets := c.shimSockets()
	err := errors.Join(c.killAll(), c.unmountAll(), c.unwire(ctx), c.removeCgroups())
	if err != nil {
		return err
	}
	for _, path := range append(sockets, c.logLinks()...) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(c.dir)
}

// killAll kills what the pid files name first, so that nothing starts anew, and then every other process of ours.
func (c *cluster) killAll() error {
	var errs []error
	for _, p := range c.components() {
		errs = append(errs, c.kill(p))
	}
	// A shim that is killed while it forks leaves a child: look again until there are none.
	errs = append(errs, poll(20*time.Second, "all processes of the cluster end", func() bool {
		strays := c.strays()
		for _, r := range strays {
			if r.alive() {
				syscall.Kill(r.pid, syscall.SIGKILL)
			}
		}
		return len(strays) == 0
	}))
	return errors.Join(errs...)
}

// unmountAll unmounts what is below the state directory, the last mounted first.
func (c *cluster) unmountAll() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, point := range slices.Backward(mountsBelow(string(mountinfo), c.dir)) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists the mount points below a directory in the order they were mounted.
func mountsBelow(mountinfo, dir string) []string {
	var points []string
	for _, line := range strings.Split(mountinfo, "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			// The kernel writes space, tab, line feed and backslash in octal.
			points = append(points, strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4]))
		}
	}
	return points
}

func (c *cluster) removeCgroups() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	v1, v2 := cgroupMounts(string(mountinfo))
	var errs []error
	for _, mount := range append(v1, v2...) {
		for _, n := range c.nodes {
			root := filepath.Join(mount, n.cgroup())
			// A cgroup whose last process has just died refuses for a moment.
			errs = append(errs, poll(10*time.Second, "cgroup "+root+" is empty", func() bool { return removeTree(root) }))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup with those below it, and reports whether it is gone.
func removeTree(root string) bool {
	var dirs []string
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		os.Remove(dir) // rmdir: what is busy stays, and is seen below
	}
	_, err := os.Stat(root)
	return errors.Is(err, fs.ErrNotExist)
}

// shimSockets are what killed shims leave in containerd's own directory: it cannot be configured, so each shim's address is
// read from its bundle.
func (c *cluster) shimSockets() []string {
	var sockets []string
	bundles, _ := filepath.Glob(c.path("node*", "run", "io.containerd.runtime.v2.task", "k8s.io", "*", "address"))
	for _, file := range bundles {
		if b, err := os.ReadFile(file); err == nil {
			if path, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "unix://"); ok && strings.HasPrefix(path, "/run/containerd/s/") {
				sockets = append(sockets, path)
			}
		}
	}
	return sockets
}

// logLinks are the kubelets' links in /var/log/containers, whose place cannot be configured either.
func (c *cluster) logLinks() []string {
	var ours []string
	links, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, c.dir+"/") {
			ours = append(ours, link)
		}
	}
	return ours
}
