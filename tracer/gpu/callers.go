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
	// maxMaps bounds what is read of a process's table of mappings.
	maxMaps = 16 << 20
	// userHz is what proc_pid_stat(5) counts clock ticks in, on all machines that this runs on.
	userHz = 100
)

// fileID tells a file from others. Containers of one image have one file in mounts of their own: there, the device is left out, and the times stand in for it.
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
	// libraries are those it has mapped, clean when it was last seen without the driver's, ns of CLOCK_BOOTTIME; 0: never.
	libraries []*probed
	clean     uint64
	looked    uint64 // the survey that last found it
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
	full      bool // no more libraries
	surveys   uint64
	// rest is until when nothing more is read, for what was spent.
	rest time.Time
	buf  []byte
}

func newCallers(proc string, list func() []Container, attach func(*os.File) (*cuda.Library, error), trouble func(*probed)) *callers {
	return &callers{proc: proc, list: list, attach: attach, trouble: trouble, now: time.Now, known: map[uint32]*caller{}, libraries: map[fileID]*probed{}}
}

// survey looks at the processes that are new; where all, at those too that are not.
func (c *callers) survey(all bool) {
	began := c.now()
	if began.Before(c.rest) {
		return
	}
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
		case all || began.Sub(k.first) < youth:
			c.look(k, began)
		}
	}
	c.rest = began.Add(time.Duration(float64(c.now().Sub(began)) / surveyShare))
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
	if size == 0 || size == k.size { // 0: it has ended, and waits for its parent
		return
	}
	boottime, err := bpf.Boottime()
	if err != nil {
		return
	}
	maps, err := c.read(k.pid, "maps")
	if err != nil {
		return
	}
	k.size = size
	driver := false
	for _, path := range libraryPaths(maps) {
		l := c.open(k, path)
		if l == nil {
			k.size = 0 // once more
			continue
		}
		driver = driver || !l.nccl
		if !slices.Contains(k.libraries, l) {
			k.libraries = append(k.libraries, l)
		}
	}
	if !driver {
		k.clean = boottime
	}
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

// read gives a file of a process's. It is valid until the next one is read.
func (c *callers) read(pid uint32, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(c.proc, strconv.FormatUint(uint64(pid), 10), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := bytes.NewBuffer(c.buf[:0])
	_, err = b.ReadFrom(io.LimitReader(f, maxMaps))
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
			if strings.HasPrefix(filepath.Base(path), name) && !strings.HasSuffix(path, " (deleted)") && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// open has a library probed that a process has mapped, unless it is already; nil where it cannot be found now. What leads there is the container's: links lead no
// further than to its root.
func (c *callers) open(k *caller, path string) *probed {
	root, err := os.Open(filepath.Join(c.proc, strconv.FormatUint(uint64(k.pid), 10), "root"))
	if err != nil {
		return nil
	}
	defer root.Close()
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	l, err := c.probe(f, strings.HasPrefix(filepath.Base(path), "libnccl"), fmt.Sprintf("%s in %s", path, k.name))
	if err != nil {
		return nil
	}
	return l
}

// probe has an open library probed, unless it is already.
func (c *callers) probe(f *os.File, nccl bool, path string) (*probed, error) {
	id, err := identify(f)
	if err != nil {
		return nil, err
	}
	if l := c.libraries[id]; l != nil {
		return l, nil
	}
	l := &probed{nccl: nccl, path: path}
	if len(c.libraries) >= maxLibraries {
		// Its process is as one without. There is no end to what pods may bring.
		if l.err = fmt.Errorf("%d libraries are probed on this node, which is as many as there may be", maxLibraries); !c.full {
			c.full = true
			c.trouble(l)
		}
		return l, nil
	}
	c.libraries[id] = l
	if l.Library, l.err = c.attach(f); l.err != nil {
		c.trouble(l)
	}
	return l, nil
}

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
	if fs.Type != unix.OVERLAYFS_SUPER_MAGIC {
		id.device = s.Dev
	}
	return id, nil
}

// loaded says whether a process has a library mapped that is probed.
func (k *caller) loaded(nccl bool) bool {
	return slices.ContainsFunc(k.libraries, func(l *probed) bool { return l.nccl == nccl && l.Library != nil })
}
