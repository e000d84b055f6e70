package resources

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
)

// tree is where the node's cgroup hierarchies are.
type tree struct {
	// v2 is the unified hierarchy's root. On a hybrid host it has no controllers: those are in v1, by controller;
	// empty on a unified one.
	v2 string
	v1 map[string]string
}

// newTree finds the hierarchies of v1 beside the v2 root, as systemd mounts them: root/unified and root/CONTROLLER.
// The root of a unified host has none beside it.
func newTree(v2 string) (*tree, error) {
	t := &tree{v2: v2, v1: map[string]string{}}
	if filepath.Base(v2) != "unified" {
		return t, nil
	}
	for _, controller := range []string{"cpu", "cpuacct", "memory", "blkio"} {
		dir := filepath.Join(filepath.Dir(v2), controller)
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find cgroup v1: %w", err)
		}
		if info.IsDir() {
			t.v1[controller] = dir
		}
	}
	return t, nil
}

// usage holds the values of the files of one container's cgroup. Amounts are cumulative unless noted; nil: unknown
// here.
type usage struct {
	cpuNs                           *uint64
	periods, throttled, throttledNs *uint64
	cpuLimitMilli                   *uint64 // nil without a limit, too
	memory, workingSet, peak        *uint64 // bytes now, and the most since it began
	memoryLimit                     *uint64 // bytes; nil without a limit, too
	oomKills                        *uint64
	cpuSome                         *uint64 // µs, as all pressure
	memorySome, memoryFull          *uint64
	ioSome, ioFull                  *uint64
	listenOverflows                 *uint64
}

// maxFile bounds the size of a file, in bytes: memory.stat has some KB, whatever a container does.
const maxFile = 64 << 10

// unlimited is where v1 begins to mean "no limit": it writes the largest number of pages there is.
const unlimited = 1 << 60

// read reads all files of a container. It returns fs.ErrNotExist where the cgroup is gone.
func (t *tree) read(path string) (u usage, err error) {
	dir := filepath.Join(t.v2, path)
	stat, err := keyed(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return u, gone(err)
	}
	if n, ok := stat["usage_usec"]; ok {
		u.cpuNs = ptr(n * 1000)
	}
	u.readCPU(t, dir, path, stat)
	u.readMemory(t, dir, path)
	for _, p := range []struct {
		file       string
		some, full **uint64
	}{{"cpu.pressure", &u.cpuSome, nil}, {"memory.pressure", &u.memorySome, &u.memoryFull},
		{"io.pressure", &u.ioSome, &u.ioFull}} {
		b, err := rootfs.ReadKernelFile(filepath.Join(dir, p.file), maxFile)
		if err != nil {
			continue // ENOENT before 4.20, EOPNOTSUPP where it is switched off (psi=0)
		}
		some, full := pressure(b)
		*p.some = some
		if p.full != nil {
			*p.full = full
		}
	}
	return u, nil
}

// gone makes the error of a directory that is removed while it is read that of one that is not there.
func gone(err error) error {
	if errors.Is(err, syscall.ENODEV) {
		return fs.ErrNotExist
	}
	return err
}

func (u *usage) readCPU(t *tree, v2, path string, stat map[string]uint64) {
	if dir, ok := t.v1["cpuacct"]; ok {
		if n, ok := number(filepath.Join(dir, path, "cpuacct.usage")); ok {
			u.cpuNs = &n
		}
	}
	if dir, ok := t.v1["cpu"]; ok {
		dir = filepath.Join(dir, path)
		var err error
		if stat, err = keyed(filepath.Join(dir, "cpu.stat")); err != nil {
			return
		}
		if n, ok := stat["throttled_time"]; ok {
			u.throttledNs = &n
		}
		period, ok1 := number(filepath.Join(dir, "cpu.cfs_period_us"))
		quota, ok2 := number(filepath.Join(dir, "cpu.cfs_quota_us")) // -1, which is no number here: no limit
		if ok1 && ok2 && period > 0 {
			u.cpuLimitMilli = ptr(quota * 1000 / period)
		}
	} else {
		if n, ok := stat["throttled_usec"]; ok {
			u.throttledNs = ptr(n * 1000)
		}
		// "max 100000" or "50000 100000"
		if b, err := rootfs.ReadKernelFile(filepath.Join(v2, "cpu.max"), maxFile); err == nil {
			if fields := strings.Fields(string(b)); len(fields) == 2 {
				quota, err1 := strconv.ParseUint(fields[0], 10, 64)
				period, err2 := strconv.ParseUint(fields[1], 10, 64)
				if err1 == nil && err2 == nil && period > 0 {
					u.cpuLimitMilli = ptr(quota * 1000 / period)
				}
			}
		}
	}
	if n, ok := stat["nr_periods"]; ok {
		u.periods = &n
	}
	if n, ok := stat["nr_throttled"]; ok {
		u.throttled = &n
	}
}

func (u *usage) readMemory(t *tree, v2, path string) {
	files := memoryFiles{"memory.current", "memory.max", "memory.peak", "memory.events", "oom_kill", "inactive_file"}
	dir := v2
	if v1, ok := t.v1["memory"]; ok {
		dir = filepath.Join(v1, path)
		files = memoryFiles{"memory.usage_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes",
			"memory.oom_control", "oom_kill", "total_inactive_file"}
	}
	n, ok := number(filepath.Join(dir, files.current))
	if !ok {
		return
	}
	u.memory = &n
	if n, ok := number(filepath.Join(dir, files.limit)); ok && n < unlimited {
		u.memoryLimit = &n
	}
	if n, ok := number(filepath.Join(dir, files.peak)); ok {
		u.peak = &n
	}
	if events, err := keyed(filepath.Join(dir, files.events)); err == nil {
		if n, ok := events[files.oomKill]; ok {
			u.oomKills = &n
		}
	}
	if stat, err := keyed(filepath.Join(dir, "memory.stat")); err == nil {
		if inactive, ok := stat[files.inactive]; ok {
			// They are read one after the other, so that it may be more by now.
			u.workingSet = ptr(n - min(n, inactive))
		}
	}
}

type memoryFiles struct{ current, limit, peak, events, oomKill, inactive string }

// blockCgroup is the id of the cgroup that the block I/O of a container is charged to. ok is false where none of its
// own is: the controller is not there, or not switched on for it.
func (t *tree) blockCgroup(c Container) (id uint64, ok bool) {
	dir, v1 := t.v1["blkio"]
	if !v1 {
		if filepath.Base(t.v2) == "unified" {
			return 0, false
		}
		controllers, err := rootfs.ReadKernelFile(filepath.Join(t.v2, c.Path, "cgroup.controllers"), maxFile)
		if err != nil {
			return 0, false
		}
		for _, name := range bytes.Fields(controllers) {
			ok = ok || string(name) == "io"
		}
		return c.Cgroup, ok
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, c.Path), &stat); err != nil {
		return 0, false
	}
	return stat.Ino, true
}

// number reads a file that holds one.
func number(file string) (uint64, bool) {
	b, err := rootfs.ReadKernelFile(file, maxFile)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n, err == nil
}

// keyed reads a file of lines "name number".
func keyed(file string) (map[string]uint64, error) {
	b, err := rootfs.ReadKernelFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	found := make(map[string]uint64, 16)
	for line := range bytes.Lines(b) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(string(value), 10, 64); err == nil {
			found[string(name)] = n
		}
	}
	return found, nil
}

// pressure reads the totals, µs, of a file in PSI's format: "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and
// such a line that begins with "full".
func pressure(b []byte) (some, full *uint64) {
	for line := range bytes.Lines(b) {
		_, total, ok := bytes.Cut(line, []byte(" total="))
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(total)), 10, 64)
		switch {
		case err != nil:
		case bytes.HasPrefix(line, []byte("some ")):
			some = &n
		case bytes.HasPrefix(line, []byte("full ")):
			full = &n
		}
	}
	return some, full
}

func ptr[T any](v T) *T { return &v }
