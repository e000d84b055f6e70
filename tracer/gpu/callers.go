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
	// newcomers is how often new processes are looked at, and for how long each counts as new.
	newcomers = 250 * time.Millisecond
	youth     = 10 * time.Second
	// surveyShare is how much of a core looking at processes may take.
	surveyShare = 0.01
	// surveyLimit is how long it may take at a time.
	surveyLimit = 50 * time.Millisecond
	// maxLibraries bounds how many are probed: pods bring their own.
	maxLibraries = 64
	// maxMaps bounds what is read of a process's table of mappings, mapsAtOnce at a time: lines are shorter.
	maxMaps    = 16 << 20
	mapsAtOnce = 64 << 10
	// maxMapped bounds how many libraries one process is looked up for.
	maxMapped = 16
	// maxStat bounds the other files of a process.
	maxStat = 4096
	// lookupLimit is how long it may take to read what a process has mapped and to find the libraries, attachLimit to
	// read and probe one. Both wait for the file system that a container has mounted, and for locks of the process.
	// maxHung is how many of them may be left behind.
	lookupLimit = 500 * time.Millisecond
	attachLimit = 10 * time.Second
	maxHung     = 4
	// userHz is what proc_pid_stat(5) counts clock ticks in, on all machines that this runs on.
	userHz = 100
)

// fileID tells a file from others. Containers of one image have one file in mounts of their own: there, the device is
// left out, and the times stand in for it.
type fileID struct {
	device, inode        uint64
	size, mtime, changed int64
}

// probed is a library that processes have loaded.
type probed struct {
	*cuda.Library // nil: it could not be probed, for this reason
	err           error
	nccl          bool   // NCCL's, not the driver's
	path          string // for people
	// used is when a process was last known to have it mapped.
	used time.Time
}

// caller is a process of a traced container.
type caller struct {
	cgroup  uint64
	name    string // of the container
	pid     uint32
	started uint64 // clock ticks since boot
	first   time.Time
	// size is that of its memory when its mappings were read last; 0: never.
	size uint64
	// libraries are those it has mapped, clean when it was last seen without the driver's, ns of CLOCK_BOOTTIME; 0:
	// never.
	libraries []*probed
	clean     uint64
	looked    uint64 // the survey that last found it
	// hung: it or its files did not answer once, and it is left alone from then on.
	hung bool
}

// callers finds the processes of the traced containers, and the libraries they use.
type callers struct {
	proc   string
	list   func() []Container
	attach func(*os.File) (*cuda.Library, error)
	// trouble is told of a library that cannot be probed.
	trouble func(*probed)
	now     func() time.Time

	known     map[uint32]*caller
	libraries map[fileID]*probed
	// full stands for all libraries for which there is no place; nil: there are places.
	full *probed
	// complete puts probes back that were taken off for their cost, detach takes all of a library off.
	complete func(*cuda.Library, *os.File) error
	detach   func(*cuda.Library) error
	// lookups and attaches are for work that may hang; told are the kinds of failure that trouble was told of.
	lookups, attaches *rootfs.Guard
	told              map[string]bool
	surveys           uint64
	// rest is until when nothing more is read, for what was spent.
	rest time.Time
	buf  []byte
}

func newCallers(
	proc string, list func() []Container, attach func(*os.File) (*cuda.Library, error), trouble func(*probed),
) *callers {
	return &callers{
		proc: proc, list: list, attach: attach, trouble: trouble, now: time.Now, known: map[uint32]*caller{},
		libraries: map[fileID]*probed{},
		lookups:   rootfs.NewGuard(lookupLimit, maxHung), attaches: rootfs.NewGuard(attachLimit, maxHung),
		told: map[string]bool{},
	}
}

// survey looks at the processes that are new; where all, at those too that are not. It tells whether it has looked at
// all.
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
			k.cgroup, k.name, k.looked = container.Cgroup, container.Name, c.surveys
		})
	}
	for pid, k := range c.known {
		switch {
		case k.looked != c.surveys:
			delete(c.known, pid)
		case c.now().Sub(began) > surveyLimit: // others, another time: the order is never the same
			whole = false
		case all || began.Sub(k.first) < youth:
			c.look(k, began)
		}
	}
	c.rest = began.Add(time.Duration(float64(c.now().Sub(began)) / surveyShare))
	return whole
}

// look reads what a process has mapped, where that may have changed.
func (c *callers) look(k *caller, now time.Time) {
	started, size, ok := c.stat(k.pid)
	if !ok {
		return // it is gone
	}
	if k.started != started { // another one of this number
		*k = caller{cgroup: k.cgroup, name: k.name, looked: k.looked, pid: k.pid, first: now, started: started}
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
		c.troubleOnce("hung", k, err)
		return
	case errors.Is(err, rootfs.ErrGuardFull), errors.Is(err, rootfs.ErrTooLarge):
		k.size = size
		c.troubleOnce("bounds", k, err)
		return
	case err != nil:
		return
	}
	k.size = size
	driver := false
	for _, f := range found {
		switch {
		case errors.Is(f.err, errRemote), errors.Is(f.err, rootfs.ErrNotRegular):
			c.troubleOnce(f.path, k, f.err)
			continue
		case f.err != nil:
			k.size = 0 // once more
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

// maxTold bounds how many kinds of failure are told of.
const maxTold = 16

// troubleOnce tells of a process whose libraries cannot be looked up, once of each kind: there is no end of processes.
func (c *callers) troubleOnce(kind string, k *caller, err error) {
	if !c.told[kind] && len(c.told) < maxTold {
		c.told[kind] = true
		c.trouble(&probed{err: err, path: fmt.Sprintf("libraries of process %d in %s", k.pid, k.name)})
	}
}

func isNCCL(path string) bool { return strings.HasPrefix(filepath.Base(path), "libnccl") }

// mappedLibrary is an open library that a process has mapped, or why it cannot be opened.
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

// mapped finds the libraries that a process has mapped. All of it may hang.
func (c *callers) mapped(k *caller) ([]mappedLibrary, error) {
	proc, pid := c.proc, int(k.pid)
	return rootfs.Do(c.lookups, func() (list []mappedLibrary, err error) {
		p, err := rootfs.OpenProcess(proc, pid)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		paths, err := mappedPaths(p)
		if err != nil || len(paths) == 0 {
			return nil, err
		}
		root, err := p.Root()
		if err != nil {
			return nil, err
		}
		defer root.Close()
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

// stat gives when a process began and how much memory it has mapped.
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

// read gives a short file of a process's that the kernel makes without waiting for the process. It is valid until the
// next one is read.
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

// libraryNames are what files of the libraries are called.
var libraryNames = []string{"libcuda.so.", "libnccl.so."}

// libraryPaths finds the libraries in a process's table of mappings, as proc(5) describes /proc/PID/maps, each once.
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

// probe has an open library probed, unless it is already, and closes it.
func (c *callers) probe(f *os.File, id fileID, nccl bool, path string) *probed {
	if l := c.libraries[id]; l != nil {
		defer f.Close()
		if l.Library != nil && c.complete != nil {
			if err := c.complete(l.Library, f); err != nil {
				c.trouble(&probed{path: path, err: err})
			}
		}
		return l
	}
	if len(c.libraries) >= maxLibraries {
		// Its process is as one without. There is no end to what pods may bring.
		f.Close()
		if c.full == nil {
			c.full = &probed{path: path,
				err: fmt.Errorf("%d libraries are probed on this node, which is as many as there may be", maxLibraries)}
			c.trouble(c.full)
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
		c.trouble(l)
	}
	return l
}

// keepUnused is how long a library stays probed that no process of a traced container has mapped any more.
const keepUnused = time.Minute

// free gives the places of libraries back that no process has mapped any more, and has the processes looked at again
// that had found none. Processes that are not looked at yet may have them mapped: it is to be called after a whole
// survey.
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
				c.trouble(&probed{path: l.path, err: err})
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

// refresh has all processes looked at again that have a library.
func (c *callers) refresh() {
	for _, k := range c.known {
		if len(k.libraries) > 0 {
			k.size = 0
		}
	}
}

// remote are file systems whose pages come from a server that a pod may run or choose. The kernel reads a page of the
// library as it puts a probe there, and keeps all processes of the node from forking meanwhile: a server that does not
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

// loaded says whether a process has a library mapped that is probed.
func (k *caller) loaded(nccl bool) bool {
	return slices.ContainsFunc(k.libraries, func(l *probed) bool { return l.nccl == nccl && l.Library != nil })
}
