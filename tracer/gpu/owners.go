//go:build linux

package gpu

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
)

// Container is an observed container.
type Container struct {
	// Cgroup is the id of its own cgroup.
	Cgroup uint64
	// Dir is the cgroup's directory.
	Dir string
	// Name is "namespace/pod/container".
	Name string
}

// owner is the container of a process.
type owner struct {
	cgroup uint64
	name   string
	// started distinguishes the process from a later one with the same pid (proc_pid_stat(5), field 22).
	started uint64
}

// owners finds the containers of processes. It reads the processes of each cgroup (cgroup.procs), because a process's
// /proc/PID/cgroup is relative to the reader's cgroup namespace, which may not contain it.
type owners struct {
	proc string
	list func() []Container

	of map[uint32]owner
	// foreign are the processes, with their start times, that no container of the last scan had. known is a hash of
	// those containers.
	foreign map[uint32]uint64
	known   uint64
}

func newOwners(proc string, list func() []Container) *owners {
	return &owners{proc: proc, list: list, of: map[uint32]owner{}, foreign: map[uint32]uint64{}}
}

// update finds the containers of processes, and forgets all other processes.
func (o *owners) update(pids []uint32) {
	of, foreign := make(map[uint32]owner, len(pids)), map[uint32]uint64{}
	for _, pid := range pids {
		started, ok := o.started(pid)
		if !ok {
			continue // it has ended, or never existed
		}
		if was, ok := o.of[pid]; ok && was.started == started {
			of[pid] = was
			continue
		}
		foreign[pid] = started
	}
	if len(foreign) > 0 {
		o.scan(of, foreign)
	}
	o.of, o.foreign = of, foreign
}

// scan moves the processes of containers from foreign to of. It does nothing if the processes and containers are those
// of the last scan.
func (o *owners) scan(of map[uint32]owner, foreign map[uint32]uint64) {
	containers := o.list()
	known := uint64(0)
	for _, c := range containers {
		known = known*31 + c.Cgroup
	}
	scanned := known == o.known
	o.known = known
	for pid, started := range foreign {
		was, ok := o.foreign[pid]
		scanned = scanned && ok && was == started
	}
	if scanned {
		return
	}
	for _, c := range containers {
		c.each(func(pid uint32) {
			if started, ok := foreign[pid]; ok {
				of[pid] = owner{c.Cgroup, c.Name, started}
				delete(foreign, pid)
			}
		})
	}
}

// exists reports whether a process existed at the last update.
func (o *owners) exists(pid uint32) bool {
	_, own := o.of[pid]
	_, other := o.foreign[pid]
	return own || other
}

// started returns the start time of a process in clock ticks since boot.
func (o *owners) started(pid uint32) (uint64, bool) {
	b, err := rootfs.ReadKernelFile(filepath.Join(o.proc, strconv.FormatUint(uint64(pid), 10), "stat"), maxStat)
	if err != nil {
		return 0, false
	}
	return startTime(b)
}

// startTime parses the 22nd field of a process's stat file. The second field, in parentheses, may hold any bytes.
func startTime(stat []byte) (uint64, bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	fields := bytes.Fields(stat[i+1:])
	const after = 22 - 3
	if len(fields) <= after {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[after]), 10, 64)
	return n, err == nil
}

// comm returns the kernel's name of a process's command; nil if it has ended.
func (o *owners) comm(pid uint32) []byte {
	b, err := rootfs.ReadKernelFile(filepath.Join(o.proc, strconv.FormatUint(uint64(pid), 10), "comm"), maxStat)
	if err != nil {
		return nil
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

// Limits of one container's cgroups and processes: it may create cgroups below its own, and processes in them.
const (
	maxContainerCgroups = 1024
	maxCgroupProcs      = 1 << 20 // bytes of each
)

// each calls f for each process of the container, also in cgroups below its own.
func (c *Container) each(f func(pid uint32)) {
	cgroups := 0
	_ = filepath.WalkDir(c.Dir, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it was removed
		}
		if cgroups++; cgroups > maxContainerCgroups {
			return filepath.SkipAll
		}
		b, err := rootfs.ReadKernelFile(filepath.Join(dir, "cgroup.procs"), maxCgroupProcs)
		if err != nil {
			return nil
		}
		for line := range bytes.Lines(b) {
			if pid, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 32); err == nil {
				f(uint32(pid))
			}
		}
		return nil
	})
}
