package pods

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
)

const (
	// LearnInterval is the time between calls of Learn while unnamed containers remain.
	LearnInterval = 25 * time.Millisecond
	// learnLimit is how long Learn tries a container: its mounts exist before its first instruction runs.
	learnLimit = 5 * time.Second
	// learnBatch limits the cgroups that one call of Learn reads, learnCgroups those of one container, and learnPIDs
	// the processes of one cgroup. A container may create many of each.
	learnBatch   = 256
	learnCgroups = 4
	learnPIDs    = 4
	// maxMountinfo limits the bytes read of one process's mount table.
	maxMountinfo = 1 << 20
	maxProcs     = 1 << 20
)

// Unnamed gets a token when there may be containers that Learn can name.
func (r *Resolver) Unnamed() <-chan struct{} { return r.fresh }

// Learn finds the names of containers whose ids the client does not know yet: the kubelet reports a container's id a
// second or two after its start, and a short container has ended by then. The kubelet mounts the termination message of
// each container from …/pods/UID/containers/NAME/…, so the mount table of its processes holds the name.
//
// root is the mount point of cgroup v2, and proc is /proc of the host's PID namespace. Learn returns whether unnamed
// containers remain, and failed updates of the scope.
func (r *Resolver) Learn(root, proc string, now time.Time) (more bool, err error) {
	var errs failures
	for _, u := range r.unnamed(now) {
		name, ok := r.nameOf(&u, root, proc)
		if !ok {
			more = true
			continue
		}
		errs.add(r.learned(u.pod, u.container, name))
	}
	return more, errs.err()
}

// unnamedContainer is a container without a name, and one of its cgroups.
type unnamedContainer struct {
	cgroup         uint64
	path           string
	pod, container string
}

func (r *Resolver) unnamed(now time.Time) (list []unnamedContainer) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	tries := make(map[string]int) // by container
	for _, c := range r.table.unnamed {
		if c.removed || now.Sub(c.made) > learnLimit {
			continue
		}
		for _, place := range c.places {
			if r.table.byKey[place.Pod] == nil {
				continue
			}
			if tries[place.Container]++; tries[place.Container] <= learnCgroups {
				list = append(list, unnamedContainer{c.id, c.path, place.Pod, place.Container})
			}
			break
		}
		if len(list) == learnBatch {
			break
		}
	}
	return list
}

// learned stores the name of a container.
func (r *Resolver) learned(podKey, container, name string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	touched := r.table.learn(podKey, container, name)
	r.mu.Unlock()
	var errs failures
	for _, c := range touched {
		errs.add(r.scopeCgroup(c))
	}
	return errs.err()
}

// nameOf reads the container's name from the mount tables of its processes.
func (r *Resolver) nameOf(u *unnamedContainer, root, proc string) (string, bool) {
	dir, ok := r.directory(root, u.path, u.cgroup)
	if !ok {
		return "", false
	}
	procs, err := rootfs.ReadKernelFile(filepath.Join(dir, "cgroup.procs"), maxProcs)
	if err != nil {
		return "", false
	}
	tried := 0
	for pid := range strings.Lines(string(procs)) {
		n, err := strconv.ParseUint(strings.TrimSpace(pid), 10, 32)
		if err != nil || n == 0 { // 0 is a process of another PID namespace
			continue
		}
		if tried++; tried > learnPIDs {
			break
		}
		mounts, err := readMountinfo(filepath.Join(proc, strconv.FormatUint(n, 10), "mountinfo"))
		if err != nil {
			continue // it has ended
		}
		if name, ok := containerName(mounts, u.pod); ok {
			return name, true
		}
	}
	return "", false
}

func readMountinfo(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(io.LimitReader(f, maxMountinfo))
	return b.Bytes(), err
}

// directory finds a cgroup's directory. The kernel's paths begin at the root of the hierarchy. A node that is itself a
// container sees only a subtree of it.
func (r *Resolver) directory(root, path string, id uint64) (string, bool) {
	for {
		dir := filepath.Join(root, path)
		if info, err := os.Stat(dir); err == nil {
			if found, ok := r.number(dir, info); ok && found == id {
				return dir, true
			}
		}
		_, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if !ok {
			return "", false
		}
		path = rest
	}
}

// containerName finds the name of a container of a pod in the mount table of one of its processes, as proc(5) describes
// /proc/PID/mountinfo: the fourth field of a line is the mount's root within its file system.
func containerName(mountinfo []byte, podKey string) (string, bool) {
	for line := range bytes.Lines(mountinfo) {
		fields := bytes.Fields(line)
		if len(fields) < 5 {
			continue
		}
		rest := string(fields[3])
		for {
			var ok bool
			if _, rest, ok = strings.Cut(rest, "/pods/"); !ok {
				break
			}
			pod, below, _ := strings.Cut(rest, "/")
			below, ok = strings.CutPrefix(below, "containers/")
			name, _, deep := strings.Cut(below, "/")
			if ok && deep && name != "" && canonical(pod) == podKey {
				return name, true
			}
		}
	}
	return "", false
}
