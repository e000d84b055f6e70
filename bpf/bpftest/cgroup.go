package bpftest

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// CgroupRoot finds where cgroup v2 is mounted.
func CgroupRoot(tb testing.TB) string {
	tb.Helper()
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if field := strings.Fields(s.Text()); len(field) > 2 && field[2] == "cgroup2" {
			return field[1]
		}
	}
	tb.Fatal("cgroup v2 is not mounted")
	return ""
}

// Cgroup is a throw-away cgroup of the v2 hierarchy.
type Cgroup struct {
	// ID is the inode of the directory.
	ID uint64
	// Dir is the directory, Path the same from the root of the hierarchy.
	Dir, Path string
}

// NewCgroup makes a cgroup, with the parents it lacks, and removes them when the test ends. A relative path without
// a name of its own per test would meet another test's: use tb.Name or a UID in it.
func NewCgroup(tb testing.TB, path string) *Cgroup {
	tb.Helper()
	root := CgroupRoot(tb)
	dir := root
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		dir = filepath.Join(dir, name)
		err := os.Mkdir(dir, 0o755)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		made := dir
		tb.Cleanup(func() {
			if err := os.Remove(made); err != nil && !os.IsNotExist(err) {
				tb.Error(err)
			}
		})
	}
	info, err := os.Stat(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return &Cgroup{ID: info.Sys().(*syscall.Stat_t).Ino, Dir: dir, Path: strings.TrimPrefix(dir, root)}
}

// One process, one cgroup: tests take turns.
var inCgroup sync.Mutex

// Run moves the whole test process into the cgroup while f runs. A socket belongs to the cgroup its process was in
// when it was made (and an accepted one to its listener's), so this is how one process owns sockets of several
// cgroups.
func (c *Cgroup) Run(tb testing.TB, f func()) {
	tb.Helper()
	inCgroup.Lock()
	defer inCgroup.Unlock()
	home, err := current()
	if err != nil {
		tb.Fatal(err)
	}
	if err := join(c.Dir); err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := join(CgroupRoot(tb) + home); err != nil {
			tb.Error(err)
		}
	}()
	f()
}

func join(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
}

func current() (string, error) {
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(raw), "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("no v2 cgroup in %q", raw)
}
