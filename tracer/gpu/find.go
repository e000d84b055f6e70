//go:build linux

package gpu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
)

// driverLibrary is a library of the driver: its soname, and the flag that sets its path.
type driverLibrary struct{ soname, flag string }

// nvmlLibrary is for management, cudaLibrary for computing.
var (
	nvmlLibrary = driverLibrary{"libnvidia-ml.so.1", "--nvml-library"}
	cudaLibrary = driverLibrary{"libcuda.so.1", "--cuda-library"}
)

// directories are where distributions and driver containers install the libraries.
var directories = []string{
	"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", // Debian, Ubuntu
	"/usr/lib64", "/usr/lib64/nvidia", // RHEL, SUSE, Amazon Linux
	"/usr/lib", "/usr/lib/nvidia",
	"/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/lib/aarch64-linux-gnu/nvidia/current", // Debian's alternatives
	"/usr/local/nvidia/lib64",              // Container-Optimized OS
	"/usr/local/glibc/usr/lib",             // Talos
	"/usr/lib/wsl/lib",                     // WSL
	"/opt/nvidia/lib64", "/opt/nvidia/lib", // Flatcar
	"/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib", "/aarch64-bottlerocket-linux-gnu/sys-root/usr/lib",
	"/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla",
	"/aarch64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla",
}

// driverRoots are directories of the host that may be the root of a driver's files.
var driverRoots = []string{
	"",
	"/run/nvidia/driver",          // NVIDIA's GPU operator
	"/home/kubernetes/bin/nvidia", // GKE
}

// places are the file systems to search for the library: those that the node or this image owns. Containers control
// their own files, so nothing found through their processes is loaded.
type places struct {
	// own is the container's root, host the node's, proc the node's /proc.
	own, host, proc string
}

// libraryFile is an open library of the driver. The checked file is the one that is loaded or probed.
type libraryFile struct {
	*os.File
	// path is where it was found, below the node's root or the container's own.
	path string
}

// find opens the library. wanted, if not empty, is its path, on the node or in the container's own root. The caller
// closes the file.
func (p places) find(l driverLibrary, wanted string) (*libraryFile, error) {
	roots := map[string]*rootfs.Root{}
	for _, path := range []string{p.own, p.host} {
		if root, err := rootfs.OpenRoot(path); err == nil {
			roots[path] = root
			defer func() { _ = root.Close() }()
		}
	}
	if wanted != "" {
		return p.named(l, wanted, roots)
	}
	// refused is the error of the first existing file that could not be used. It explains more than "not found".
	var refused error
	try := func(root, path string) *libraryFile {
		f, err := openLibrary(roots[root], path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && refused == nil {
			refused = fmt.Errorf("%s: %w", path, err)
		}
		return f
	}
	for _, root := range []string{p.own, p.host} {
		for _, path := range wellKnown(l.soname) {
			if f := try(root, path); f != nil {
				return f, nil
			}
		}
	}
	for _, path := range cached(roots[p.host], l) {
		if f := try(p.host, path); f != nil {
			return f, nil
		}
	}
	if refused != nil {
		return nil, fmt.Errorf("no NVIDIA driver that can be used on this node: %w%s", refused, p.blind())
	}
	return nil, fmt.Errorf("no NVIDIA driver on this node: no %s where distributions put it or in the linker's cache "+
		"(%s names another place)%s",
		l.soname, l.flag, p.blind())
}

// named opens the library that the user has named.
func (p places) named(l driverLibrary, wanted string, roots map[string]*rootfs.Root) (*libraryFile, error) {
	var refused error
	for _, root := range []string{p.host, p.own} {
		f, err := openLibrary(roots[root], wanted)
		if err == nil {
			return f, nil
		}
		if refused == nil && !errors.Is(err, fs.ErrNotExist) {
			refused = err
		}
	}
	if refused != nil {
		return nil, fmt.Errorf("%s %s: %w%s", l.flag, wanted, refused, p.blind())
	}
	return nil, fmt.Errorf("%s %s: there is no such library for %s on this node%s", l.flag, wanted, runtime.GOARCH,
		p.blind())
}

// wellKnown returns the paths below a root where distributions and driver containers install a library.
func wellKnown(soname string) (paths []string) {
	for _, driver := range driverRoots {
		for _, dir := range directories {
			paths = append(paths, filepath.Join(driver, dir, soname))
		}
		if driver != "" { // GKE's has its lib64 at its root
			paths = append(paths, filepath.Join(driver, "lib64", soname))
		}
	}
	return paths
}

// blind returns the reason why the node's files cannot be read, in parentheses, or "".
func (p places) blind() string {
	if _, err := os.Stat(filepath.Join(p.host, "/etc")); errors.Is(err, fs.ErrPermission) {
		return " (the node's own files cannot be seen: that needs the capability SYS_PTRACE)"
	}
	return ""
}

// openLibrary opens a library for this machine below a root that may be nil, where nobody but root can have written it.
func openLibrary(root *rootfs.Root, path string) (*libraryFile, error) {
	if root == nil {
		return nil, fs.ErrNotExist
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	if err := trusted(f); err != nil {
		f.Close()
		return nil, err
	}
	return &libraryFile{f, path}, nil
}

// libraryOwner is the required owner of a library; tests by other users replace it.
var libraryOwner uint32

// trusted returns an error unless a file is a shared library that only root can write.
func trusted(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return errors.New("its owner is not known")
	case s.Uid != libraryOwner:
		return fmt.Errorf("it belongs to the user %d: want a library of root's, since it is loaded (chown root)", s.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write it (mode %#o): want a library that only root writes, since it is loaded "+
			"(chmod go-w)",
			info.Mode().Perm())
	}
	var h elf.Header64
	if err := binary.Read(io.NewSectionReader(f, 0, headerSize), binary.LittleEndian, &h); err != nil ||
		string(h.Ident[:len(elf.ELFMAG)]) != elf.ELFMAG || elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(h.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB || elf.Type(h.Type) != elf.ET_DYN ||
		elf.Machine(h.Machine) != machine {
		return fmt.Errorf("it is no shared library for %s: %w", runtime.GOARCH, fs.ErrNotExist)
	}
	return nil
}

// headerSize is that of an ELF header of 64 bits.
const headerSize = 64

var machine = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]

// maxCache limits the bytes read of the linker's cache.
const maxCache = 16 << 20

// cached returns the paths of the library in the cache of the node's dynamic linker, which holds them as C strings.
func cached(host *rootfs.Root, l driverLibrary) []string {
	if host == nil {
		return nil
	}
	var paths []string
	for _, driver := range driverRoots {
		b, err := host.ReadFile(filepath.Join(driver, "/etc/ld.so.cache"), maxCache)
		if err != nil {
			continue
		}
		for _, path := range cachedPaths(b, l.soname) {
			paths = append(paths, filepath.Join(driver, path))
		}
	}
	return paths
}

func cachedPaths(cache []byte, soname string) (paths []string) {
	tail := []byte("/" + soname + "\x00")
	for rest := cache; ; {
		i := bytes.Index(rest, tail)
		if i < 0 {
			return paths
		}
		begin := bytes.LastIndexByte(rest[:i], 0) + 1
		if path := string(rest[begin : i+len(tail)-1]); filepath.IsAbs(path) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		rest = rest[i+len(tail):]
	}
}
