package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestNode_MakesItsCgroups uses this machine's hierarchies, of either version: a kubelet finds the controllers that it
// needs in its node's cgroup, and the root's controllers are restored at the end.
func TestNode_MakesItsCgroups(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes cgroups: needs root")
	}
	c := testCluster(t, "orb8cg", "215")
	mounts, err := ownCgroupMounts()
	if err != nil || len(mounts) == 0 {
		t.Fatalf("cgroup hierarchies: %q, %v", mounts, err)
	}
	rootControl := func() []string {
		t.Helper()
		if !unified() {
			return nil
		}
		passed, err := words(unifiedRoot, "cgroup.subtree_control")
		if err != nil {
			t.Fatal(err)
		}
		return passed
	}
	before := rootControl()
	t.Cleanup(func() { _ = errors.Join(c.removeCgroups(), c.restore()) }) // checked below, if the test gets there
	if err := c.remember(); err != nil {
		t.Fatal(err)
	}
	if err := passControllers(); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		if err := n.makeCgroups(); err != nil {
			t.Fatal(err)
		}
	}
	for _, mount := range mounts {
		for _, n := range c.nodes {
			dir := filepath.Join(mount, n.cgroup())
			if file, err := os.ReadFile(filepath.Join(dir, "cpuset.cpus")); err == nil && !unified() && len(file) <= 1 {
				t.Errorf("%s accepts no process: it has no CPUs", dir)
			}
			// Cgroups that a kubelet would create, for down to remove.
			if err := os.MkdirAll(filepath.Join(dir, "kubepods", "besteffort"), 0o755); err != nil {
				t.Error(err)
			}
			if !unified() {
				continue
			}
			available, err := words(unifiedRoot, "cgroup.controllers")
			if err != nil {
				t.Fatal(err)
			}
			got, err := words(dir, "cgroup.controllers")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the root has %q and enabled %q; the node has %q", available, before, got)
			if missing := withheld(available, got); len(missing) > 0 {
				t.Errorf("the node lacks controllers %q", missing)
			}
		}
	}
	if err := errors.Join(c.removeCgroups(), c.restore()); err != nil {
		t.Fatal(err)
	}
	for _, mount := range mounts {
		for _, n := range c.nodes {
			if _, err := os.Stat(filepath.Join(mount, n.cgroup())); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s in %s is still there: %v", n.cgroup(), mount, err)
			}
		}
	}
	if after := rootControl(); !slices.Equal(before, after) {
		t.Errorf("the root enabled %q before, and %q after", before, after)
	}
}
