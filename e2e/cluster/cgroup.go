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

// unifiedRoot is the mount point of the only hierarchy of a host without cgroup v1. Other hosts mount theirs below it.
const unifiedRoot = "/sys/fs/cgroup"

// unified reports whether the host has cgroup v2 only, not v1 or both (hybrid), by the same test as kubelet and runc.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(unifiedRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// cgroupMounts lists the mount points of the machine's hierarchies: one on a unified host, one per controller and the
// unified one on a hybrid host. It ignores mounts elsewhere, such as below the root of a container.
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

// withheld lists the controllers that a kubelet needs and a unified hierarchy has, but does not enable for the children
// of its root.
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

// passControllers enables the controllers that a kubelet needs for the children of a unified hierarchy's root.
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

// makeCgroups creates the node's root cgroup in every hierarchy: two kubelets with one root delete each other's pods.
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
		// A v1 cpuset accepts no process before its CPUs and memory nodes are set.
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
			// A cgroup stays busy for a moment after its last process has ended.
			errs = append(errs, poll(10*time.Second, "cgroup "+root+" is empty",
				func() bool { return removeTree(root) }))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup and its descendants, and reports whether it is gone.
func removeTree(root string) bool {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { // it may be gone
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		_ = os.Remove(dir) // rmdir; the caller retries if a cgroup is busy
	}
	_, err := os.Stat(root)
	return errors.Is(err, fs.ErrNotExist)
}
