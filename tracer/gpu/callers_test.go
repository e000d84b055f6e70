//go:build linux

package gpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/cuda"
	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
)

// node is the files of a machine.
type node struct {
	testing.TB
	*callers
	root     string
	attached []string
	failures []string
	clock    time.Time
}

func newNode(t testing.TB, containers ...Container) *node {
	t.Helper()
	n := &node{TB: t, root: t.TempDir(), clock: time.Unix(1000, 0)}
	for i := range containers {
		containers[i].Dir = filepath.Join(n.root, containers[i].Name)
	}
	n.callers = newCallers(filepath.Join(n.root, "proc"), func() []Container { return containers },
		func(f *os.File) (*cuda.Library, error) {
			b := make([]byte, 100)
			k, _ := f.Read(b)
			if string(b[:k]) == "broken" {
				return nil, errors.New("it is broken")
			}
			n.attached = append(n.attached, string(b[:k]))
			return &cuda.Library{Since: 1, Boottime: 1}, nil
		}, func(l *probed) { n.failures = append(n.failures, fmt.Sprintf("%s: %v", l.path, l.err)) })
	n.now = func() time.Time { return n.clock }
	return n
}

// process creates the files of a process with mappings, in a container.
func (n *node) process(container string, pid, started, size uint64, maps ...string) {
	n.Helper()
	dir := filepath.Join(n.root, "proc", fmt.Sprint(pid))
	write(n, filepath.Join(dir, "stat"),
		fmt.Sprintf("%d (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %d %d 100", pid, started, size))
	lines := ""
	for _, path := range maps {
		lines += "7f10-7f11 r-xp 00000000 08:01 78      " + path + "\n"
	}
	write(n, filepath.Join(dir, "maps"), lines)
	procs := filepath.Join(n.root, container, "cgroup.procs")
	before, _ := os.ReadFile(procs)
	write(n, procs, string(before)+fmt.Sprintln(pid))
}

func (n *node) at(seconds int, all bool) {
	n.clock = time.Unix(1000+int64(seconds), 0)
	n.survey(all)
}

func TestCallers_ProbeLibraryOnce(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "a"}, Container{Cgroup: 8, Name: "b"})
	n.process("a", 10, 500, 1000, "/lib/libc.so.6")
	n.process("a", 11, 500, 1000, "/usr/lib/libcuda.so.1", "/usr/lib/libcuda.so.1", "/opt/libcudart.so.12",
		"/opt/libcuda.so.1 (deleted)")
	n.process("b", 12, 500, 1000, "/cuda/libcuda.so.580.1", "/x/libnccl.so.2")
	write(t, filepath.Join(n.root, "proc/11/root/usr/lib/libcuda.so.1"), "node's")
	// The same file in another place, as NVIDIA's runtime mounts it.
	if err := os.MkdirAll(filepath.Join(n.root, "proc/12/root/cuda"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(n.root, "proc/11/root/usr/lib/libcuda.so.1"),
		filepath.Join(n.root, "proc/12/root/cuda/libcuda.so.580.1")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(n.root, "proc/12/root/x/libnccl.so.2"), "NCCL")
	n.at(0, false)
	slices.Sort(n.attached)
	if fmt.Sprint(n.attached) != "[NCCL node's]" || len(n.failures) != 0 {
		t.Fatalf("probed %v, failures %v", n.attached, n.failures)
	}
	for pid, want := range map[uint32][3]bool{10: {false, false, true}, 11: {true, false, false},
		12: {true, true, false}} {
		k := n.known[pid]
		if got := [3]bool{k.loaded(false), k.loaded(true), k.clean != 0}; got != want ||
			k.cgroup != map[bool]uint64{true: 8, false: 7}[pid == 12] {
			t.Errorf("%d: %v, %+v", pid, got, k)
		}
	}
	// The process maps a library later. It is not read until the size of its memory changes.
	write(t, filepath.Join(n.root, "proc/10/root/usr/lib/libcuda.so.1"), "own")
	write(t, filepath.Join(n.root, "proc/10/maps"), "7f10-7f11 r-xp 00000000 08:01 78      /usr/lib/libcuda.so.1\n")
	n.at(1, true)
	if n.known[10].loaded(false) {
		t.Error("read without need")
	}
	n.process("a", 10, 500, 2000, "/usr/lib/libcuda.so.1")
	n.at(20, false) // no longer young
	if n.known[10].loaded(false) {
		t.Error("an old process is read between whole surveys")
	}
	n.at(21, true)
	if !n.known[10].loaded(false) || n.attached[2] != "own" || len(n.attached) != 3 {
		t.Errorf("%v, %+v", n.attached, n.known[10])
	}
	// A new process with the same pid.
	n.process("a", 10, 900, 500)
	n.at(22, true)
	if n.known[10].loaded(false) || n.known[10].started != 900 {
		t.Errorf("%+v", n.known[10])
	}
	write(t, filepath.Join(n.root, "a/cgroup.procs"), "10\n")
	n.at(23, true)
	if n.known[11] != nil || len(n.known) != 2 {
		t.Errorf("%v", n.known)
	}
}

func TestCallers_LinksStayInContainer(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "a"})
	outside := filepath.Join(n.root, "libcuda.so.1")
	write(t, outside, "the node's secret")
	n.process("a", 10, 500, 1000, "/usr/lib/libcuda.so.1", "/usr/lib/up/libcuda.so.1", "/usr/lib/libcuda.so.580")
	link(t, filepath.Join(n.root, "proc/10/root/usr/lib/libcuda.so.1"), outside)
	link(t, filepath.Join(n.root, "proc/10/root/usr/lib/up"), "../../../../..")
	link(t, filepath.Join(n.root, "proc/10/root/usr/lib/libcuda.so.580"), "/opt/libcuda.so.580")
	write(t, filepath.Join(n.root, "proc/10/root/opt/libcuda.so.580"), "its own")
	n.at(0, true)
	if fmt.Sprint(n.attached) != "[its own]" {
		t.Errorf("probed %q", n.attached)
	}
}

func TestCallers_ReportFailureOnce(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "ns/pod/main"})
	var maps []string
	pid := uint64(10)
	for i := range maxLibraries + 5 {
		path := fmt.Sprintf("/lib/libcuda.so.%d", i)
		write(t, filepath.Join(n.root, "proc", fmt.Sprint(pid), "root", path),
			map[bool]string{true: "broken", false: "fine"}[i == 0])
		if maps = append(maps, path); len(maps) == maxMapped || i == maxLibraries+4 {
			n.process("ns/pod/main", pid, 500, 1000, maps...)
			n.at(i, true)
			n.process("ns/pod/main", pid, 500, 2000, maps...)
			maps = nil
			pid++
		}
	}
	n.at(100, true)
	want := []string{"/lib/libcuda.so.0 in ns/pod/main: it is broken",
		"/lib/libcuda.so.64 in ns/pod/main: 64 libraries are probed on this node, which is as many as there may be"}
	if !slices.Equal(n.failures, want) || len(n.attached) != maxLibraries-1 {
		t.Errorf("%d probed, failures %q", len(n.attached), n.failures)
	}
}

func TestSurvey_LimitsItsShareOfCPU(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "a"})
	n.process("a", 10, 500, 1000)
	slow := false
	n.now = func() time.Time {
		if slow {
			n.clock = n.clock.Add(10 * time.Millisecond)
		}
		return n.clock
	}
	slow = true
	n.survey(true)
	slow = false
	if surveys := n.surveys; surveys != 1 || !n.rest.After(n.clock.Add(time.Second)) {
		t.Fatalf("%d surveys, rests until %v at %v", surveys, n.rest, n.clock)
	}
	n.survey(true)
	n.clock = n.rest.Add(1)
	n.survey(true)
	if n.surveys != 2 {
		t.Errorf("%d surveys", n.surveys)
	}
}

// TestCallers_LimitTableOfMappings has a process whose table of mappings is longer than maxMaps.
func TestCallers_LimitTableOfMappings(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "hostile"}, Container{Cgroup: 8, Name: "other"})
	n.lookups = rootfs.NewGuard(time.Minute, maxHung) // nothing hangs
	n.process("hostile", 12, 500, 1000)
	line := "7f10-7f11 r-xp 00000000 08:01 78      /" + strings.Repeat("x", 4000) + "\n"
	write(t, filepath.Join(n.root, "proc/12/maps"), strings.Repeat(line, maxMaps/len(line)+2)+
		"7f10-7f11 r-xp 0 0:0 7 /lib/libcuda.so.1\n")
	n.process("other", 13, 500, 1000, "/usr/lib/libcuda.so.1")
	write(t, filepath.Join(n.root, "proc/13/root/usr/lib/libcuda.so.1"), "other's")
	for i := range 3 {
		n.at(100*i, true)
	}
	if fmt.Sprint(n.attached) != "[other's]" || len(n.failures) != 1 ||
		!strings.HasPrefix(n.failures[0], "libraries of process 12 in hostile: ") ||
		!strings.Contains(n.failures[0], "more than 16 MiB") {
		t.Errorf("probed %q, failures %q", n.attached, n.failures)
	}
}

func TestCallers_HostileFilesDoNotBlock(t *testing.T) {
	t.Parallel()
	n := newNode(t, Container{Cgroup: 7, Name: "hostile"}, Container{Cgroup: 8, Name: "other"})
	n.process("hostile", 10, 500, 1000, "/lib/libcuda.so.1", "/lib/libcuda.so.2", "/lib/libcuda.so.3")
	dir := filepath.Join(n.root, "proc/10/root/lib")
	if err := os.MkdirAll(filepath.Join(dir, "libcuda.so.2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "libcuda.so.1"), 0o666); err != nil {
		t.Fatal(err)
	}
	link(t, filepath.Join(dir, "libcuda.so.3"), "/proc/self/root/etc/passwd")
	// Reading this one hangs, like a process that holds its memory map's lock.
	n.process("hostile", 11, 500, 1000)
	hangs := filepath.Join(n.root, "proc/11/maps")
	if err := os.Remove(hangs); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(hangs, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f, err := os.OpenFile(hangs, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	n.lookups = rootfs.NewGuard(2*time.Second, maxHung) // even on a busy machine, only this one takes so long
	n.process("other", 13, 500, 1000, "/usr/lib/libcuda.so.1")
	write(t, filepath.Join(n.root, "proc/13/root/usr/lib/libcuda.so.1"), "other's")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 3 {
			n.at(100*i, true)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("a hostile process holds up the survey")
	}
	if fmt.Sprint(n.attached) != "[other's]" {
		t.Errorf("probed %q", n.attached)
	}
	failures := strings.Join(n.failures, "\n")
	for _, want := range []string{"process 10 in hostile: ", "not a regular file", "process 11 in hostile: no answer"} {
		if !strings.Contains(failures, want) {
			t.Errorf("%q is not reported: %s", want, failures)
		}
	}
	if len(n.failures) > 4 {
		t.Errorf("reported repeatedly: %s", failures)
	}
}

func TestMappedPaths_LinesAcrossReads(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "a"})
	for _, before := range []int{mapsAtOnce - 30, mapsAtOnce - 1, mapsAtOnce, mapsAtOnce + 1, 3*mapsAtOnce - 40} {
		n.process("a", 10, 500, 1000)
		text := "/" + strings.Repeat("y", 99) + "\n"
		text = strings.Repeat(text, before/len(text)) + strings.Repeat("z", before%len(text)) +
			"\n7f10-7f11 r-xp 0 0:0 7 /lib/libcuda.so.580\n"
		write(t, filepath.Join(n.root, "proc/10/maps"), text)
		p, err := rootfs.OpenProcess(n.proc, 10)
		if err != nil {
			t.Fatal(err)
		}
		paths, err := mappedPaths(p)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || !slices.Equal(paths, []string{"/lib/libcuda.so.580"}) {
			t.Errorf("behind %d bytes: %q, %v", before, paths, err)
		}
	}
}

func TestCallers_PlacesOfLibrariesAreFreed(t *testing.T) {
	n := newNode(t, Container{Cgroup: 7, Name: "a"})
	var detached int
	n.detach = func(*cuda.Library) error { detached++; return nil }
	pid := uint64(10)
	for i := 0; i < maxLibraries; {
		var maps []string
		for len(maps) < maxMapped && i < maxLibraries {
			path := fmt.Sprintf("/lib/libcuda.so.%d", i)
			write(t, filepath.Join(n.root, "proc", fmt.Sprint(pid), "root", path), "fine")
			maps = append(maps, path)
			i++
		}
		n.process("a", pid, 500, 1000, maps...)
		pid++
	}
	n.at(0, true)
	n.process("a", 100, 500, 1000, "/lib/libcuda.so.1")
	write(t, filepath.Join(n.root, "proc/100/root/lib/libcuda.so.1"), "the last one")
	n.at(100, true)
	n.free(n.clock, nil)
	if n.known[100].loaded(false) || len(n.libraries) != maxLibraries {
		t.Fatalf("%d libraries, and one more: %v", len(n.libraries), n.known[100].loaded(false))
	}
	// The first process ends, and with it what it has mapped.
	var keep *probed
	for _, l := range n.known[11].libraries {
		keep = l
	}
	write(t, filepath.Join(n.root, "a/cgroup.procs"), "11\n12\n13\n100\n")
	n.at(110, true)
	n.free(n.clock, nil)
	if detached != 0 || len(n.libraries) != maxLibraries {
		t.Errorf("%d detached at once", detached)
	}
	n.at(300, true)
	n.free(n.clock, nil)
	if detached != maxMapped || len(n.libraries) != maxLibraries-maxMapped {
		t.Errorf("%d detached, %d are left", detached, len(n.libraries))
	}
	n.at(400, true)
	if !n.known[100].loaded(false) || n.attached[len(n.attached)-1] != "the last one" {
		t.Errorf("a freed place is not used: %v", n.attached)
	}
	// The node's own stays.
	write(t, filepath.Join(n.root, "a/cgroup.procs"), "")
	n.at(500, true)
	n.free(n.clock, keep)
	n.at(600, true)
	n.free(n.clock, keep)
	if len(n.libraries) != 1 {
		t.Errorf("%d libraries are left, want the node's", len(n.libraries))
	}
}
