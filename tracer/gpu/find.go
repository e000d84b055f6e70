//go:build linux

package gpu

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// driverLibrary is a library of the driver's: the name that programs know it by, and the flag that says where it is.
type driverLibrary struct{ soname, flag string }

// nvmlLibrary is for management, cudaLibrary is what programs work with.
var (
	nvmlLibrary = driverLibrary{"libnvidia-ml.so.1", "--nvml-library"}
	cudaLibrary = driverLibrary{"libcuda.so.1", "--cuda-library"}
)

// directories are where distributions and driver containers put it.
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
	"/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla", "/aarch64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla",
}

// driverRoots are where the files of a driver may have a root of their own on the host.
var driverRoots = []string{
	"",
	"/run/nvidia/driver",          // NVIDIA's GPU operator
	"/home/kubernetes/bin/nvidia", // GKE
}

// places is the file systems that the library is looked for in.
type places struct {
	// own is the container's root, host the node's, proc the node's /proc.
	own, host, proc string
}

// find gives the absolute path of the library, as this process can open it. wanted, if not empty, is the path to take: the node's, or the
// container's own.
func (p places) find(l driverLibrary, wanted string) (string, error) {
	if wanted != "" {
		for _, root := range []string{p.host, p.own} {
			if file, ok := p.library(root, wanted); ok {
				return file, nil
			}
		}
		return "", fmt.Errorf("%s %s: there is no such library for %s on this node%s", l.flag, wanted, runtime.GOARCH, p.blind())
	}
	for _, root := range []string{p.own, p.host} {
		for _, driver := range driverRoots {
			for _, dir := range directories {
				if file, ok := p.library(root, filepath.Join(driver, dir, l.soname)); ok {
					return file, nil
				}
			}
			// GKE's has its lib64 at its root.
			if file, ok := p.library(root, filepath.Join(driver, "lib64", l.soname)); ok && driver != "" {
				return file, nil
			}
		}
	}
	for _, name := range p.cached(l) {
		if file, ok := p.library(p.host, name); ok {
			return file, nil
		}
	}
	if file, ok := p.mapped(l); ok {
		return file, nil
	}
	return "", fmt.Errorf("no NVIDIA driver on this node: no %s where distributions put it, in the linker's cache or in any process%s", l.soname, p.blind())
}

// blind says why the node's files could not be looked at; empty where they could.
func (p places) blind() string {
	if _, err := os.Stat(filepath.Join(p.host, "/etc")); errors.Is(err, fs.ErrPermission) {
		return " (the node's own files cannot be seen: that needs the capability SYS_PTRACE)"
	}
	return ""
}

// library gives the file that a path stands for below a root, where it is a library for this machine.
func (p places) library(root, path string) (string, bool) {
	file, err := resolve(root, path)
	if err != nil {
		return "", false
	}
	f, err := elf.Open(file)
	if err != nil {
		return "", false
	}
	defer f.Close()
	return file, f.Type == elf.ET_DYN && f.Machine == machine
}

var machine = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]

// maxLinks is how many symbolic links a path may have, as the kernel has it.
const maxLinks = 40

// resolve follows the symbolic links of a path as a process with that root would: an absolute one begins there.
func resolve(root, path string) (string, error) {
	done, todo := "/", strings.Split(path, "/")
	for links := 0; len(todo) > 0; {
		var part string
		if part, todo = todo[0], todo[1:]; part == "" || part == "." {
			continue
		}
		next := filepath.Join(done, part) // of "..", no more than up to the root
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			done = next // no link, or nothing: opening it will tell
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: too many symbolic links", path)
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	file := filepath.Join(root, done)
	_, err := os.Stat(file)
	return file, err
}

// maxCache bounds what is read of the linker's cache.
const maxCache = 16 << 20

// cached gives the paths of the library in the cache of the node's dynamic linker: they stand in it as they are, each ended by a NUL.
func (p places) cached(l driverLibrary) []string {
	var paths []string
	for _, driver := range driverRoots {
		name := filepath.Join(p.host, driver, "/etc/ld.so.cache")
		if info, err := os.Stat(name); err != nil || info.Size() > maxCache {
			continue
		}
		b, err := os.ReadFile(name)
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

// mapped finds the library in a process that has loaded it, whatever root that has.
func (p places) mapped(l driverLibrary) (string, bool) {
	dir, err := os.Open(p.proc)
	if err != nil {
		return "", false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		maps, err := os.ReadFile(filepath.Join(p.proc, name, "maps"))
		if err != nil {
			continue
		}
		if path := mappedPath(maps, strings.TrimSuffix(l.soname, "1")); path != "" {
			if file, ok := p.library(filepath.Join(p.proc, name, "root"), path); ok {
				return file, true
			}
		}
	}
	return "", false
}

// mappedPath finds a file whose name begins so in a process's table of mappings, as proc(5) describes /proc/PID/maps: the path begins in the sixth field.
func mappedPath(maps []byte, name string) string {
	for line := range bytes.Lines(maps) {
		i := bytes.Index(line, []byte("/"+name))
		begin := bytes.IndexByte(line, '/')
		if i < 0 || begin < 0 || bytes.HasSuffix(line, []byte(" (deleted)\n")) {
			continue
		}
		return string(bytes.TrimRight(line[begin:], "\n"))
	}
	return ""
}
