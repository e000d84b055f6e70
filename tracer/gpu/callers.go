//go:build linux

package gpu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/cuda"
	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
)

const (
	// youngInterval is how often young processes are read; youth is how long a process is young.
	youngInterval = 250 * time.Millisecond
	youth         = 10 * time.Second
	// surveyShare is the share of a core that surveys may take.
	surveyShare = 0.01
	// surveyLimit limits the duration of one survey.
	surveyLimit = 50 * time.Millisecond
	// maxLibraries limits the probed libraries: images bring their own.
	maxLibraries = 64
	// maxMaps limits the bytes read of a process's table of mappings, mapsAtOnce those of one read: lines are shorter.
	maxMaps    = 16 << 20
	mapsAtOnce = 64 << 10
	// maxMapped limits the libraries found in one process.
	maxMapped = 16
	// maxStat limits the other files of a process, bytes.
	maxStat = 4096
	// lookupLimit limits the time for reading a process's mappings and opening the libraries, attachLimit for reading
	// and probing one library. Both may wait for a file system that a container has mounted, and for locks of the
	// process. maxHung limits the goroutines that hang.
	lookupLimit = 500 * time.Millisecond
	attachLimit = 10 * time.Second
	maxHung     = 4
	// userHz is the unit of clock ticks in proc_pid_stat(5), 1/s, on all supported machines.
	userHz = 100
)

// fileID identifies a file. Containers of one image have the same file in different overlay mounts. There the device is
// left out, and the times replace it.
type fileID struct {
	device, inode        uint64
	size, mtime, changed int64
}

// probed is a library that processes have mapped.
type probed struct {
	*cuda.Library // nil: it could not be probed because of err
	err           error
	nccl          bool   // NCCL's, not the driver's
	path          string // for messages
	// used is when a process was last known to have it mapped.
	used time.Time
}

// caller is a process of a traced container.
type caller struct {
	cgroup  uint64
	name    string // the container's name
	pid     uint32
	started uint64 // clock ticks since boot
	first   time.Time
	// size is the size of its memory at the last read of its mappings; 0: never read.
	size uint64
	// libraries are the mapped ones. clean is when the process last had no driver library mapped, ns of CLOCK_BOOTTIME;
	// 0: never.
	libraries []*probed
	clean     uint64
	survey    uint64 // number of the last survey that found it
	// hung: reading it has timed out once. It is never read again.
	hung bool
}

// callers finds the processes of the traced containers, and their mapped libraries.
type callers struct {
	proc   string
	list   func() []Container
	attach func(*os.File) (*cuda.Library, error)
	// onFailure is called for a library that cannot be probed.
	onFailure func(*probed)
	now       func() time.Time

	known     map[uint32]*caller
	libraries map[fileID]*probed
	// full replaces all libraries beyond maxLibraries; nil: there are free places.
	full *probed
	// complete reattaches probes that were removed for their cost. detach removes all probes of a library.
	complete func(*cuda.Library, *os.File) error
	detach   func(*cuda.Library) error
	// lookups and attaches run work that may hang. reported are the kinds of reported failures.
	lookups, attaches *rootfs.Guard
	reported          map[string]bool
	surveys           uint64
	// rest is when the next survey may start, by the cost of the last one.
	rest time.Time
	buf  []byte
}

func newCallers(
	proc string, list func() []Container, attach func(*os.File) (*cuda.Library, error), onFailure func(*probed),
) *callers {
	return &callers{
		proc: proc, list: list, attach: attach, onFailure: onFailure, now: time.Now, known: map[uint32]*caller{},
		libraries: map[fileID]*probed{},
		lookups:   rootfs.NewGuard(lookupLimit, maxHung), attaches: rootfs.NewGuard(attachLimit, maxHung),
		reported: map[string]bool{},
	}
}

// survey reads the young processes; with all, every process. It reports whether it has read every process.
func (c *callers) survey(all bool) (whole bool) {
	began := c.now()
	if began.Before(c.rest) {
		return false
	}
	whole = all
	c.surveys++
	for _, container := range c.list() {
		container.each(func(pid uint32) {
			k := c.known[pid]
			if k == nil {
				k = &caller{pid: pid, first: began}
				c.known[pid] = k
			}
			k.cgroup, k.name, k.survey = container.Cgroup, container.Name, c.surveys
		})
	}
	for pid, k := range c.known {
		switch {
		case k.survey != c.surveys:
			delete(c.known, pid)
		case c.now().Sub(began) > surveyLimit: // the next survey reads others, because the order of a map is random
			whole = false
		case all || began.Sub(k.first) < youth:
			c.readProcess(k, began)
		}
	}
	c.rest = began.Add(time.Duration(float64(c.now().Sub(began)) / surveyShare))
	return whole
}

// readProcess finds the libraries of a process if its mappings may have changed.
func (c *callers) readProcess(k *caller, now time.Time) {
	started, size, ok := c.stat(k.pid)
	if !ok {
		return // it has ended
	}
	if k.started != started { // a new process with the same pid
		*k = caller{cgroup: k.cgroup, name: k.name, survey: k.survey, pid: k.pid, first: now, started: started}
	}
	if k.hung || size == 0 || size == k.size { // 0: it has ended, and waits for its parent
		return
	}
	boottime, err := bpf.Boottime()
	if err != nil {
		return
	}
	found, err := c.mapped(k)
	switch {
	case errors.Is(err, rootfs.ErrHung):
		k.hung = true
		c.reportOnce("hung", k, err)
		return
	case errors.Is(err, rootfs.ErrGuardFull), errors.Is(err, rootfs.ErrTooLarge):
		k.size = size
		c.reportOnce("bounds", k, err)
		return
	case err != nil:
		return
	}
	k.size = size
	driver := false
	for _, f := range found {
		switch {
		case errors.Is(f.err, errRemote), errors.Is(f.err, rootfs.ErrNotRegular):
			c.reportOnce(f.path, k, f.err)
			continue
		case f.err != nil:
			k.size = 0 // retry
			continue
		}
		l := c.probe(f.file, f.id, isNCCL(f.path), fmt.Sprintf("%s in %s", f.path, k.name))
		driver = driver || !l.nccl
		if !slices.Contains(k.libraries, l) {
			k.libraries = append(k.libraries, l)
		}
	}
	if !driver {
		k.clean = boottime
	}
}

// maxReported limits the kinds of failures that are reported.
const maxReported = 16

// reportOnce reports the first failed lookup of each kind, because the number of processes is unlimited.
func (c *callers) reportOnce(kind string, k *caller, err error) {
	if !c.reported[kind] && len(c.reported) < maxReported {
		c.reported[kind] = true
		c.onFailure(&probed{err: err, path: fmt.Sprintf("libraries of process %d in %s", k.pid, k.name)})
	}
}

func isNCCL(path string) bool { return strings.HasPrefix(filepath.Base(path), "libnccl") }

// mappedLibrary is an open library that a process has mapped, or the error of opening it.
type mappedLibrary struct {
	path string
	file *os.File
	id   fileID
	err  error
}

func closeMapped(list []mappedLibrary) {
	for _, l := range list {
		if l.err == nil {
			l.file.Close()
		}
	}
}

// mapped finds the libraries that a process has mapped. Every step may hang.
func (c *callers) mapped(k *caller) ([]mappedLibrary, error) {
	proc, pid := c.proc, int(k.pid)
	return rootfs.Do(c.lookups, func() (list []mappedLibrary, err error) {
		p, err := rootfs.OpenProcess(proc, pid)
		if err != nil {
			return nil, err
		}
		defer func() { _ = p.Close() }()
		paths, err := mappedPaths(p)
		if err != nil || len(paths) == 0 {
			return nil, err
		}
		root, err := p.Root()
		if err != nil {
			return nil, err
		}
		defer func() { _ = root.Close() }()
		for _, path := range paths {
			l := mappedLibrary{path: path}
			if l.file, l.err = root.Open(path); l.err == nil {
				if l.id, l.err = identify(l.file); l.err != nil {
					l.file.Close()
				}
			}
			list = append(list, l)
		}
		return list, nil
	}, closeMapped)
}

// mappedPaths reads a process's table of mappings.
func mappedPaths(p *rootfs.Process) (paths []string, err error) {
	f, err := p.Open("maps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf, kept := make([]byte, mapsAtOnce), 0
	for read := 0; len(paths) < maxMapped; {
		n, err := f.Read(buf[kept:])
		kept += n
		if read += n; read > maxMaps {
			return nil, fmt.Errorf("read %s: %w: more than %d MiB", f.Name(), rootfs.ErrTooLarge, maxMaps>>20)
		}
		whole := bytes.LastIndexByte(buf[:kept], '\n') + 1
		if err == io.EOF || whole == 0 && kept == len(buf) {
			whole = kept
		}
		for _, path := range libraryPaths(buf[:whole]) {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
		kept = copy(buf, buf[whole:kept])
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return paths[:min(len(paths), maxMapped)], nil
}

// stat returns the start time of a process and the size of its mapped memory.
func (c *callers) stat(pid uint32) (started, size uint64, ok bool) {
	b, err := c.read(pid, "stat")
	if err != nil {
		return 0, 0, false
	}
	if started, ok = startTime(b); !ok {
		return 0, 0, false
	}
	const vsize = 23 - 3
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= vsize {
		return 0, 0, false
	}
	size, err = strconv.ParseUint(string(fields[vsize]), 10, 64)
	return started, size, err == nil
}

// read reads a short file of a process, which the kernel generates without waiting for the process. The result is valid
// until the next call.
func (c *callers) read(pid uint32, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(c.proc, strconv.FormatUint(uint64(pid), 10), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := bytes.NewBuffer(c.buf[:0])
	_, err = b.ReadFrom(io.LimitReader(f, maxStat))
	c.buf = b.Bytes()
	return c.buf, err
}

// libraryNames are the prefixes of the libraries' file names.
var libraryNames = []string{"libcuda.so.", "libnccl.so."}

// libraryPaths finds the libraries in a process's /proc/PID/maps, see proc(5), each once.
func libraryPaths(maps []byte) (paths []string) {
	for _, name := range libraryNames {
		tail := []byte("/" + name)
		for rest := maps; ; {
			i := bytes.Index(rest, tail)
			if i < 0 {
				break
			}
			line := rest[bytes.LastIndexByte(rest[:i], '\n')+1:]
			if end := bytes.IndexByte(line, '\n'); end >= 0 {
				line = line[:end]
			}
			rest = rest[i+len(tail):]
			begin := bytes.IndexByte(line, '/')
			path := string(line[begin:])
			if strings.HasPrefix(filepath.Base(path), name) && !strings.HasSuffix(path, " (deleted)") &&
				!slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// probe probes an open library unless it is already probed, and closes the file.
func (c *callers) probe(f *os.File, id fileID, nccl bool, path string) *probed {
	if l := c.libraries[id]; l != nil {
		defer f.Close()
		if l.Library != nil && c.complete != nil {
			if err := c.complete(l.Library, f); err != nil {
				c.onFailure(&probed{path: path, err: err})
			}
		}
		return l
	}
	if len(c.libraries) >= maxLibraries {
		// Calls of its processes are not counted. Pods may bring any number of libraries.
		f.Close()
		if c.full == nil {
			c.full = &probed{path: path,
				err: fmt.Errorf("%d libraries are probed on this node, which is as many as there may be", maxLibraries)}
			c.onFailure(c.full)
		}
		return c.full
	}
	l := &probed{nccl: nccl, path: path, used: c.now()}
	c.libraries[id] = l
	attach, detach := c.attach, c.detach
	l.Library, l.err = rootfs.Do(c.attaches, func() (*cuda.Library, error) {
		defer f.Close()
		return attach(f)
	}, func(late *cuda.Library) {
		if detach != nil {
			_ = detach(late)
		}
	})
	if l.err != nil {
		c.onFailure(l)
	}
	return l
}

// keepUnused is how long a library stays probed after the last process of a traced container has unmapped it.
const keepUnused = time.Minute

// free frees the places of libraries that no process has mapped, and makes the next survey retry the processes that had
// found no place. Unread processes may have them mapped, so call it after a whole survey.
func (c *callers) free(now time.Time, keep *probed) {
	for _, k := range c.known {
		for _, l := range k.libraries {
			l.used = now
		}
	}
	freed := false
	for id, l := range c.libraries {
		if l == keep || now.Sub(l.used) < keepUnused {
			continue
		}
		if l.Library != nil && c.detach != nil {
			if err := c.detach(l.Library); err != nil {
				c.onFailure(&probed{path: l.path, err: err})
			}
		}
		delete(c.libraries, id)
		freed = true
	}
	if freed && c.full != nil {
		for _, k := range c.known {
			if i := slices.Index(k.libraries, c.full); i >= 0 {
				k.libraries, k.size = slices.Delete(k.libraries, i, i+1), 0
			}
		}
		c.full = nil
	}
}

// refresh makes the next survey read all processes with a library again.
func (c *callers) refresh() {
	for _, k := range c.known {
		if len(k.libraries) > 0 {
			k.size = 0
		}
	}
}

// remote are file systems whose pages come from a server that a pod may run or choose. The kernel reads a page of the
// library while it attaches a probe, and blocks forks of all processes of the node meanwhile: a server that does not
// answer would stop the node.
var remote = map[int64]bool{
	unix.FUSE_SUPER_MAGIC: true, unix.NFS_SUPER_MAGIC: true, unix.SMB_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true,
	unix.CIFS_SUPER_MAGIC: true, unix.V9FS_MAGIC: true, unix.AFS_SUPER_MAGIC: true, unix.AFS_FS_MAGIC: true,
	unix.CEPH_SUPER_MAGIC: true, unix.CODA_SUPER_MAGIC: true,
}

var errRemote = errors.New("libraries on FUSE and network file systems are not probed: their server could block " +
	"the node")

func identify(f *os.File) (id fileID, err error) {
	info, err := f.Stat()
	if err != nil {
		return id, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return id, errors.New("it is no regular file")
	}
	id = fileID{inode: s.Ino, size: s.Size, mtime: s.Mtim.Nano(), changed: s.Ctim.Nano()}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return id, err
	}
	if remote[fs.Type] {
		return id, errRemote
	}
	if fs.Type != unix.OVERLAYFS_SUPER_MAGIC {
		id.device = s.Dev
	}
	return id, nil
}

// loaded reports whether a process has a probed library mapped.
func (k *caller) loaded(nccl bool) bool {
	return slices.ContainsFunc(k.libraries, func(l *probed) bool { return l.nccl == nccl && l.Library != nil })
}
