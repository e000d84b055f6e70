//go:build linux

package gpu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// library writes a file with the ELF header of a shared library for a machine.
func library(t testing.TB, path string, machine elf.Machine) {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
		Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB),
		byte(elf.EV_CURRENT)
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	write(t, path, b.String())
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, path, target string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func sameFile(t testing.TB, f *os.File, path string) bool {
	t.Helper()
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(a, b)
}

// soname is that of the library for management.
const soname = "libnvidia-ml.so.1"

const versioned = "/libnvidia-ml.so.580.95.05"

func TestFind_LibraryOfDistributions(t *testing.T) {
	libraryOwner = uint32(os.Geteuid())
	t.Cleanup(func() { libraryOwner = 0 })
	for _, test := range []struct {
		name   string
		wanted string
		make   func(t *testing.T, p places)
		// found is a path below the parent directory of all roots; empty: an error that contains err.
		found, err string
	}{
		{"Debian and Ubuntu", "", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib/x86_64-linux-gnu"+versioned, machine)
			link(t, p.host+"/usr/lib/x86_64-linux-gnu/"+soname, "libnvidia-ml.so.580.95.05")
		}, "host/usr/lib/x86_64-linux-gnu" + versioned, ""},
		{"an absolute link stays in the node's root", "", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib/nvidia/current"+versioned, machine)
			link(t, p.host+"/etc/alternatives/ml", "/usr/lib/nvidia/current"+versioned)
			link(t, p.host+"/usr/lib64/"+soname, "/etc/alternatives/../alternatives/ml")
		}, "host/usr/lib/nvidia/current" + versioned, ""},
		{"what NVIDIA's runtime has put into the container goes first", "", func(t *testing.T, p places) {
			library(t, p.own+"/usr/lib64/"+soname, machine)
			library(t, p.host+"/usr/lib64/"+soname, machine)
		}, "own/usr/lib64/" + soname, ""},
		{"the driver container of the GPU operator", "", func(t *testing.T, p places) {
			library(t, p.host+"/run/nvidia/driver/usr/lib64/"+soname, machine)
		}, "host/run/nvidia/driver/usr/lib64/" + soname, ""},
		{"GKE", "", func(t *testing.T, p places) {
			library(t, p.host+"/home/kubernetes/bin/nvidia/lib64/"+soname, machine)
		}, "host/home/kubernetes/bin/nvidia/lib64/" + soname, ""},
		{"one for another machine is passed over", "", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib/x86_64-linux-gnu/"+soname, elf.EM_386)
			write(t, p.host+"/usr/lib64/"+soname, "GROUP ( libfoo.so )")
			library(t, p.host+"/usr/lib/"+soname, machine)
		}, "host/usr/lib/" + soname, ""},
		{"the linker's cache", "", func(t *testing.T, p places) {
			library(t, p.host+"/odd/place/"+soname, machine)
			write(t, p.host+"/etc/ld.so.cache", "glibc-ld.so.cache1.1\x00\x01\x02libc.so.6\x00/lib/libc.so.6\x00"+
				soname+"\x00/odd/place/"+soname+"\x00more\x00")
		}, "host/odd/place/" + soname, ""},
		{"what a process has mapped is not taken", "", func(t *testing.T, p places) {
			library(t, p.proc+"/42/root/opt/x"+versioned, machine)
			write(t, p.proc+"/42/maps", "7f10-7f11 r-xp 00000000 08:01 78      /opt/x"+versioned+"\n")
		}, "", "no NVIDIA driver on this node: no libnvidia-ml.so.1 where distributions put it"},
		{"others may write it", "", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib64/"+soname, machine)
			chmod(t, p.host+"/usr/lib64/"+soname, 0o775)
		}, "", "no NVIDIA driver that can be used on this node: /usr/lib64/" + soname +
			": others may write it (mode 0775)"},
		{"one that others may write is passed over", "", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib64/"+soname, machine)
			chmod(t, p.host+"/usr/lib64/"+soname, 0o666)
			library(t, p.host+"/usr/lib/"+soname, machine)
		}, "host/usr/lib/" + soname, ""},
		{"a FIFO", "/my/ml.so", func(t *testing.T, p places) {
			write(t, p.host+"/my/there", "")
			if err := syscall.Mkfifo(p.host+"/my/ml.so", 0o644); err != nil {
				t.Fatal(err)
			}
		}, "", "--nvml-library /my/ml.so: open /my/ml.so"},
		{"a directory", "/my", func(t *testing.T, p places) { library(t, p.host+"/my/ml.so", machine) }, "",
			"not a regular file"},
		{"a link that leads out of the root stays in it", "/my/ml.so", func(t *testing.T, p places) {
			library(t, filepath.Dir(p.host)+"/outside/ml.so", machine)
			link(t, p.host+"/my/ml.so", "../../outside/ml.so")
		}, "", "there is no such library"},
		{"a magic link", "/my/ml.so", func(t *testing.T, p places) {
			link(t, p.host+"/my/ml.so", "/proc/self/exe")
		}, "", "there is no such library"},
		{"the configured path", "/my/ml.so", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib64/"+soname, machine)
			library(t, p.host+"/my/ml.so", machine)
		}, "host/my/ml.so", ""},
		{"a wrong path", "/my/ml.so", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib64/"+soname, machine)
		}, "", "--nvml-library /my/ml.so: there is no such library"},
		{"a link to itself", "", func(t *testing.T, p places) {
			link(t, p.host+"/usr/lib64/"+soname, soname)
		}, "", "too many levels of symbolic links"},
		{"nothing", "", func(*testing.T, places) {}, "", "no NVIDIA driver on this node"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			p := places{own: root + "/own", host: root + "/host", proc: root + "/proc"}
			test.make(t, p)
			got, err := p.find(nvmlLibrary, test.wanted)
			if got != nil {
				defer got.Close()
			}
			if test.found == "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil || !sameFile(t, got.File, filepath.Join(root, test.found)) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// FuzzFiles reads the kernel's and the linker's files, whatever they hold.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("7f10-7f11 r-xp 00000000 08:01 78      /opt/libnvidia-ml.so.580 (deleted)\n"),
		[]byte("\x00/a/"+soname+"\x00"), []byte("1 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"))
	f.Add([]byte("7f10-7f11 r-xp 00000000 08:01 78      /opt/libcuda.so.1\n/libnccl.so.2"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, maps, cache, stat []byte) {
		for _, p := range cachedPaths(cache, soname) {
			if !filepath.IsAbs(p) || filepath.Base(p) != soname || strings.Contains(p, "\x00") {
				t.Errorf("a path of the cache: %q", p)
			}
		}
		startTime(stat)
		for _, p := range libraryPaths(maps) {
			if p[0] != '/' || strings.Contains(p, "\n") {
				t.Errorf("a library among mappings: %q", p)
			}
		}
	})
}

func TestFind_RefusesLibraryOfOtherUser(t *testing.T) {
	libraryOwner = uint32(os.Geteuid()) + 1
	t.Cleanup(func() { libraryOwner = 0 })
	root := t.TempDir()
	library(t, root+"/usr/lib64/"+soname, machine)
	p := places{own: root + "/none", host: root, proc: root + "/proc"}
	for _, wanted := range []string{"", "/usr/lib64/" + soname} {
		if got, err := p.find(nvmlLibrary, wanted); err == nil ||
			!strings.Contains(err.Error(), "want a library of root's") {
			t.Errorf("%q: %v, %v", wanted, got, err)
		}
	}
}
