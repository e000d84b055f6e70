package kit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
)

// MemoryCgroup is the memory cgroup of a container.
type MemoryCgroup struct{ usage, limit, peak, kernel, events memoryFile }

// memoryFile is a cgroup file with one number, or a field of a file with lines "FIELD NUMBER".
type memoryFile struct{ path, field string }

// MemoryUse holds the counters of a memory cgroup, in bytes, including the kernel memory charged to it.
type MemoryUse struct {
	Usage, Limit, Peak uint64
	// Kernel is the kernel's part of Usage: slabs, page tables, stacks.
	Kernel uint64
	// OOMKills is the number of killed processes.
	OOMKills uint64
}

// MemoryCgroupOf returns the memory cgroup of a process on this machine. It skips the test if the kernel has no peak
// counter (cgroup v2 before Linux 5.19).
func MemoryCgroupOf(t testing.TB, pid uint32) MemoryCgroup {
	t.Helper()
	dir, v1, err := cgroupDir(pid, "memory")
	if err != nil {
		t.Fatal(err)
	}
	m := MemoryCgroup{
		usage:  memoryFile{dir + "/memory.current", ""},
		limit:  memoryFile{dir + "/memory.max", ""},
		peak:   memoryFile{dir + "/memory.peak", ""},
		kernel: memoryFile{dir + "/memory.stat", "kernel"},
		events: memoryFile{dir + "/memory.events", "oom_kill"},
	}
	if v1 {
		m = MemoryCgroup{
			usage:  memoryFile{dir + "/memory.usage_in_bytes", ""},
			limit:  memoryFile{dir + "/memory.limit_in_bytes", ""},
			peak:   memoryFile{dir + "/memory.max_usage_in_bytes", ""},
			kernel: memoryFile{dir + "/memory.kmem.usage_in_bytes", ""},
			events: memoryFile{dir + "/memory.oom_control", "oom_kill"},
		}
	}
	if _, err := m.peak.read(); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("this kernel does not count the peak of a cgroup's memory: %v", err)
	}
	return m
}

// Read reads the counters. It fails the test if the cgroup is gone.
func (m MemoryCgroup) Read(t testing.TB) MemoryUse {
	t.Helper()
	var u MemoryUse
	for _, f := range []struct {
		from memoryFile
		to   *uint64
	}{{m.usage, &u.Usage}, {m.limit, &u.Limit}, {m.peak, &u.Peak}, {m.kernel, &u.Kernel}, {m.events, &u.OOMKills}} {
		n, err := f.from.read()
		if err != nil {
			t.Fatalf("read the memory cgroup: %v", err)
		}
		*f.to = n
	}
	return u
}

func (f memoryFile) read() (uint64, error) {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return 0, err
	}
	if f.field == "" {
		return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, f.field+" "); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", f.path, f.field)
}
