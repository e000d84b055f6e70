//go:build linux

package gpu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// library writes what begins as a shared library for a machine does.
func library(t testing.TB, path string, machine elf.Machine) {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
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

// soname is that of the library for management.
const soname = "libnvidia-ml.so.1"

const versioned = "/libnvidia-ml.so.580.95.05"

func TestTheLibraryIsFoundWhereDistributionsPutIt(t *testing.T) {
	for _, test := range []struct {
		name   string
		wanted string
		make   func(t *testing.T, p places)
		// found is below the directory of all roots; empty: an error that says err.
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
			write(t, p.host+"/etc/ld.so.cache", "glibc-ld.so.cache1.1\x00\x01\x02libc.so.6\x00/lib/libc.so.6\x00"+soname+"\x00/odd/place/"+soname+"\x00more\x00")
		}, "host/odd/place/" + soname, ""},
		{"a process that has it", "", func(t *testing.T, p places) {
			library(t, p.proc+"/42/root/opt/x"+versioned, machine)
			write(t, p.proc+"/41/maps", "")
			write(t, p.proc+"/42/maps", "7f00-7f01 r-xp 00000000 08:01 77      /usr/lib/libc.so.6\n7f10-7f11 r-xp 00000000 08:01 78      /opt/x"+versioned+"\n")
		}, "proc/42/root/opt/x" + versioned, ""},
		{"the one that was asked for", "/my/ml.so", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib64/"+soname, machine)
			library(t, p.host+"/my/ml.so", machine)
		}, "host/my/ml.so", ""},
		{"a wrong path", "/my/ml.so", func(t *testing.T, p places) {
			library(t, p.host+"/usr/lib64/"+soname, machine)
		}, "", "--nvml-library /my/ml.so: there is no such library"},
		{"a link to itself", "", func(t *testing.T, p places) {
			link(t, p.host+"/usr/lib64/"+soname, soname)
		}, "", "no NVIDIA driver on this node"},
		{"nothing", "", func(*testing.T, places) {}, "", "no NVIDIA driver on this node"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			p := places{own: root + "/own", host: root + "/host", proc: root + "/proc"}
			test.make(t, p)
			got, err := p.find(nvmlLibrary, test.wanted)
			if test.found == "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err != nil || got != filepath.Join(root, test.found) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// FuzzFiles reads the kernel's and the linker's files, whatever they hold.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("7f10-7f11 r-xp 00000000 08:01 78      /opt/libnvidia-ml.so.580 (deleted)\n"), []byte("\x00/a/"+soname+"\x00"), []byte("1 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"))
	f.Add([]byte("7f10-7f11 r-xp 00000000 08:01 78      /opt/libcuda.so.1\n/libnccl.so.2"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, maps, cache, stat []byte) {
		if p := mappedPath(maps, "libnvidia-ml.so."); p != "" && (p[0] != '/' || strings.Contains(p, "\n")) {
			t.Errorf("a path of mappings: %q", p)
		}
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
