package resources

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const container = "/kubepods/pod1/c1"

// write makes a tree of files, by path.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const psi = "some avg10=1.00 avg60=0.50 avg300=0.10 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=700\n"

func TestUnifiedHosts(t *testing.T) {
	root := t.TempDir()
	write(t, root+container, map[string]string{
		"cpu.stat": "usage_usec 2000\nuser_usec 1500\nsystem_usec 500\nnr_periods 10\nnr_throttled " +
			"4\nthrottled_usec 300\n",
		"cpu.max":            "50000 100000\n",
		"memory.current":     "1000000\n",
		"memory.max":         "4000000\n",
		"memory.peak":        "1100000\n",
		"memory.stat":        "anon 600000\ninactive_file 250000\nactive_file 150000\n",
		"memory.events":      "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n",
		"cpu.pressure":       psi,
		"memory.pressure":    psi,
		"io.pressure":        psi,
		"cgroup.controllers": "cpu io memory pids\n",
	})
	tree, err := newTree(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.read(container)
	if err != nil {
		t.Fatal(err)
	}
	want := usage{
		cpuNs: ptr[uint64](2_000_000), periods: ptr[uint64](10), throttled: ptr[uint64](4),
		throttledNs: ptr[uint64](300_000), cpuLimitMilli: ptr[uint64](500),
		memory: ptr[uint64](1_000_000), workingSet: ptr[uint64](750_000), peak: ptr[uint64](1_100_000),
		memoryLimit: ptr[uint64](4_000_000), oomKills: ptr[uint64](1),
		cpuSome: ptr[uint64](1500), memorySome: ptr[uint64](1500), memoryFull: ptr[uint64](700),
		ioSome: ptr[uint64](1500), ioFull: ptr[uint64](700),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(usage{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if id, ok := tree.blockCgroup(Container{Cgroup: 7, Path: container}); id != 7 || !ok {
		t.Errorf("block I/O is charged to %d, %v", id, ok)
	}

	// No limits, no controllers but those that every cgroup has, no PSI.
	write(t, root+container+"x", map[string]string{
		"cpu.stat": "usage_usec 2000\nuser_usec 1500\nsystem_usec 500\n", "cgroup.controllers": "\n",
		"cpu.max":        "max 100000\n",
		"memory.current": "5\n", "memory.max": "max\n", "memory.stat": "inactive_file 9\n",
	})
	if got, err = tree.read(container + "x"); err != nil {
		t.Fatal(err)
	}
	want = usage{cpuNs: ptr[uint64](2_000_000), memory: ptr[uint64](5), workingSet: ptr[uint64](0)}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(usage{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if id, ok := tree.blockCgroup(Container{Cgroup: 7, Path: container + "x"}); ok {
		t.Errorf("block I/O is charged to %d", id)
	}
	if _, err := tree.read("/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

func TestHybridHosts(t *testing.T) {
	mount := t.TempDir()
	root := filepath.Join(mount, "unified")
	write(t, mount, map[string]string{
		"unified" + container + "/cpu.stat":                 "usage_usec 2000\nuser_usec 1500\nsystem_usec 500\n",
		"unified" + container + "/cpu.pressure":             psi,
		"unified" + container + "/memory.pressure":          "garbage total=\nsome total=x\n",
		"cpu,cpuacct" + container + "/cpuacct.usage":        "2000123\n",
		"cpu,cpuacct" + container + "/cpu.stat":             "nr_periods 10\nnr_throttled 4\nthrottled_time 300500\n",
		"cpu,cpuacct" + container + "/cpu.cfs_period_us":    "100000\n",
		"cpu,cpuacct" + container + "/cpu.cfs_quota_us":     "150000\n",
		"memory" + container + "/memory.usage_in_bytes":     "1000000\n",
		"memory" + container + "/memory.limit_in_bytes":     "9223372036854771712\n",
		"memory" + container + "/memory.max_usage_in_bytes": "1100000\n",
		"memory" + container + "/memory.stat":               "inactive_file 1\ntotal_inactive_file 250000\n",
		"memory" + container + "/memory.oom_control":        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
		"blkio" + container + "/blkio.throttle.io_serviced": "Total 0\n",
	})
	for _, name := range []string{"cpu", "cpuacct"} { // as systemd does
		if err := os.Symlink("cpu,cpuacct", filepath.Join(mount, name)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := newTree(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.read(container)
	if err != nil {
		t.Fatal(err)
	}
	want := usage{
		cpuNs: ptr[uint64](2_000_123), periods: ptr[uint64](10), throttled: ptr[uint64](4),
		throttledNs: ptr[uint64](300_500), cpuLimitMilli: ptr[uint64](1500),
		memory: ptr[uint64](1_000_000), workingSet: ptr[uint64](750_000), peak: ptr[uint64](1_100_000),
		oomKills: ptr[uint64](3), cpuSome: ptr[uint64](1500),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(usage{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(filepath.Join(mount, "blkio", container), &stat); err != nil {
		t.Fatal(err)
	}
	if id, ok := tree.blockCgroup(Container{Cgroup: 7, Path: container}); id != stat.Ino || !ok {
		t.Errorf("block I/O is charged to %d, %v, want v1's own id %d", id, ok, stat.Ino)
	}
	// A quota of -1 is none; and where v1 has no blkio, nothing is charged.
	write(t, mount, map[string]string{"cpu,cpuacct" + container + "/cpu.cfs_quota_us": "-1\n"})
	if got, err = tree.read(container); err != nil || got.cpuLimitMilli != nil {
		t.Errorf("%v, %v, want no limit", got.cpuLimitMilli, err)
	}
	delete(tree.v1, "blkio")
	if id, ok := tree.blockCgroup(Container{Cgroup: 7, Path: container}); ok {
		t.Errorf("block I/O is charged to %d", id)
	}
}

// TestThisKernelsFiles holds the reader against the running kernel: a cgroup of this process's own.
func TestThisKernelsFiles(t *testing.T) {
	b := newHarness(t)
	tree, err := newTree(b.probe.tree.v2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.read(b.group.Path)
	if err != nil || got.cpuNs == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzPressure(f *testing.F) {
	f.Add([]byte(psi))
	f.Fuzz(func(t *testing.T, b []byte) {
		some, full := pressure(b)
		if (some != nil || full != nil) && len(b) < len("some total=0") {
			t.Errorf("%v, %v", some, full)
		}
	})
}
