package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unifiedRoot is where a host without cgroup v1 has its only hierarchy. Others have theirs below it.
const unifiedRoot = "/sys/fs/cgroup"

// unified tells a host with cgroup v2 alone from one with v1, or with both (hybrid), as kubelet and runc do.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(unifiedRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// cgroupMounts lists the hierarchies of the machine: one on a unified host, one per controller and the unified one on a
// hybrid host. A hierarchy can be mounted elsewhere too, below the root of a container for one: those are left alone.
func cgroupMounts(mountinfo string) []string {
	var mounts []string
	for _, line := range strings.Split(mountinfo, "\n") {
		// 36 35 98:0 /root /mount/point options - type source superoptions
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		kind, _, _ := strings.Cut(after, " ")
		if (kind == "cgroup" || kind == "cgroup2") && strings.HasPrefix(fields[4]+"/", unifiedRoot+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts
}

func ownCgroupMounts() ([]string, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	return cgroupMounts(string(mountinfo)), err
}

// withheld lists the controllers that a kubelet asks for and that a unified hierarchy has, but does not pass on from
// its root.
func withheld(available, passed []string) []string {
	var names []string
	for _, name := range []string{"cpu", "cpuset", "memory", "pids", "hugetlb", "io"} {
		if slices.Contains(available, name) && !slices.Contains(passed, name) {
			names = append(names, name)
		}
	}
	return names
}

func words(dir, file string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	return strings.Fields(string(b)), err
}

// setController turns one controller on ("+cpu") or off for the children of a cgroup.
func setController(dir, change string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(change), 0)
}

// passControllers makes the root of a unified hierarchy pass on all that a kubelet insists on.
func passControllers() error {
	if !unified() {
		return nil
	}
	available, err := words(unifiedRoot, "cgroup.controllers")
	if err != nil {
		return err
	}
	passed, err := words(unifiedRoot, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	for _, name := range withheld(available, passed) {
		if err := setController(unifiedRoot, "+"+name); err != nil {
			return fmt.Errorf("turn on cgroup controller %s: %w", name, err)
		}
	}
	return nil
}

// makeCgroups makes the node's own root in every hierarchy: two kubelets under one delete each other's pods.
func (n *node) makeCgroups() error {
	mounts, err := ownCgroupMounts()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		dir := filepath.Join(mount, n.cgroup())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if unified() {
			continue
		}
		// A v1 cpuset takes no process before it is told its CPUs and memory nodes.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if own, err := os.ReadFile(filepath.Join(dir, file)); err != nil || strings.TrimSpace(string(own)) != "" {
				continue
			}
			parent, err := os.ReadFile(filepath.Join(mount, file))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), parent, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) removeCgroups() error {
	mounts, err := ownCgroupMounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, mount := range mounts {
		for _, n := range c.nodes {
			root := filepath.Join(mount, n.cgroup())
			// A cgroup whose last process has just died refuses for a moment.
			errs = append(errs, poll(10*time.Second, "cgroup "+root+" is empty",
				func() bool { return removeTree(root) }))
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
