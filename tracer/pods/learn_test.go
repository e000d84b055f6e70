package pods

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// mounts is the mount table of a container's process, with the mounts that matter here.
func mounts(kubelet, uid, container string) string {
	return `1052 924 0:92 / / rw,relatime master:412 - overlay overlay rw,lowerdir=/var/lib/containerd/1/fs
1053 1052 0:94 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
1061 1052 254:1 ` + kubelet + `/pods/` + uid + `/etc-hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
1062 1052 254:1 ` + kubelet + `/pods/` + uid + `/containers/` + container +
		`/4e1c0d9a /dev/termination-log rw,relatime - ext4 /dev/vda1 rw
1063 1052 254:1 ` + kubelet + `/pods/` + uid + `/volume-subpaths/data/` + container +
		`/0 /data rw,relatime - ext4 /dev/vda1 rw
`
}

func TestContainerName_FromMountTable(t *testing.T) {
	for _, test := range []struct {
		name, mounts, pod, want string
	}{
		{"the usual kubelet", mounts("/var/lib/kubelet", uidA, "app"), uidA, "app"},
		{"a file system of its own", mounts("", uidA, "app"), uidA, "app"},
		{"a kubelet in a strange place", mounts("/pods/of/node1/pods/x", uidA, "app"), uidA, "app"},
		{"a static pod", mounts("/var/lib/kubelet", hash, "etcd"), hash, "etcd"},
		{"another pod's", mounts("/var/lib/kubelet", uidB, "app"), uidA, ""},
		{"a sandbox has none", strings.ReplaceAll(mounts("/var/lib/kubelet", uidA, "app"), "/containers/", "/c/"), uidA,
			""},
		{"a container without a name", mounts("/var/lib/kubelet", uidA, ""), uidA, ""},
		{"a line cut short", "1062 1052 254:1 /pods/" + uidA + "/containers/app", uidA, ""},
		{"nothing", "", uidA, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, ok := containerName([]byte(test.mounts), test.pod); got != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %v", got, ok)
			}
		})
	}
}

func FuzzContainerName(f *testing.F) {
	f.Add([]byte(mounts("/var/lib/kubelet", uidA, "app")), uidA)
	f.Fuzz(func(t *testing.T, mountinfo []byte, pod string) {
		if name, ok := containerName(mountinfo, pod); ok &&
			(name == "" || !bytes.Contains(mountinfo, []byte("containers/"+name+"/"))) {
			t.Errorf("named %q", name)
		}
	})
}

// tree is a cgroup mount of ordinary directories, numbered in the order of their creation: other file systems than
// kernfs may use any inode number, and reuse one.
type tree struct {
	*testing.T
	root string
	ids  map[string]uint64
}

// newTree returns a tree, and makes the resolver use its numbers.
func newTree(t *testing.T, r *Resolver) *tree {
	c := &tree{T: t, root: t.TempDir(), ids: map[string]uint64{}}
	r.number = func(dir string, _ fs.FileInfo) (uint64, bool) {
		id, ok := c.ids[dir]
		return id, ok
	}
	return c
}

// mkdir creates a cgroup and its missing parents.
func (c *tree) mkdir(path string) (id uint64) {
	c.Helper()
	dir := c.root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			c.Fatal(err)
		}
		if c.ids[dir] == 0 {
			c.ids[dir] = 1001 + uint64(len(c.ids))
		}
	}
	return c.ids[dir]
}

// host is a cgroup mount and a /proc of ordinary files.
type host struct {
	*tree
	proc string
}

func newHost(t *testing.T, r *Resolver) *host { return &host{newTree(t, r), t.TempDir()} }

// run creates a cgroup with one process and its mount table.
func (h *host) run(path string, pid int, mountinfo string) (id uint64) {
	h.Helper()
	id = h.mkdir(path)
	dir, process := filepath.Join(h.root, path), filepath.Join(h.proc, fmt.Sprint(pid))
	if err := os.MkdirAll(process, 0o755); err != nil {
		h.Fatal(err)
	}
	for file, content := range map[string]string{
		filepath.Join(dir, "cgroup.procs"):  fmt.Sprintf("0\n%d\n%d\n", 999999, pid),
		filepath.Join(process, "mountinfo"): mountinfo,
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			h.Fatal(err)
		}
	}
	return id
}

func TestLearn_NamesFromProcesses(t *testing.T) {
	f := newFixture(t)
	h := newHost(t, f.Resolver)
	learn := func(wantMore bool, now time.Time) {
		t.Helper()
		more, err := f.Learn(h.root, h.proc, now)
		if err != nil || more != wantMore {
			t.Errorf("more %v, %v", more, err)
		}
	}
	sidecar := container("sidecar", 0)
	sidecar.Target = false
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 0), sidecar)}})
	f.made(1, path(uidA, 1)) // the sandbox
	select {
	case <-f.Unnamed():
		t.Error("a sandbox is to be named")
	default:
	}
	app := h.run(path(uidA, 2), 42, "")
	// The kernel's path begins above what this node sees.
	f.made(app, "/docker/node"+path(uidA, 2))
	<-f.Unnamed()
	learn(true, start) // its mounts do not exist yet
	f.is(app, "unnamed demo/web/")
	h.run(path(uidA, 2), 42, mounts("/var/lib/kubelet", uidA, "app"))
	learn(false, start)
	f.is(app, "named demo/web/app")

	side := h.run(path(uidA, 3), 43, mounts("/var/lib/kubelet", uidA, "sidecar"))
	f.made(side, path(uidA, 3))
	f.observes(app, side)
	learn(false, start)
	f.is(side, "foreign")
	f.observes(app)
	f.made(50, path(uidA, 3)+"/nested")
	f.is(50, "foreign")

	// A name that the client has not listed yet.
	debug := h.run(path(uidA, 4), 44, mounts("/var/lib/kubelet", uidA, "debugger"))
	f.made(debug, path(uidA, 4))
	learn(false, start)
	f.is(debug, "unnamed demo/web/")
	f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 0), sidecar, container("debugger", 0))}})
	f.is(debug, "named demo/web/debugger")
	f.is(app, "named demo/web/app")

	odd := h.run(path(uidA, 5), 45, "")
	f.made(odd, path(uidA, 5))
	learn(true, start.Add(learnLimit))
	learn(false, start.Add(learnLimit+1))
	f.made(odd+1<<40, path(uidA, 6)) // removed before Learn could read it
	learn(true, start)
	if err := f.Observe(Cgroup{ID: odd + 1<<40, Removed: true}, start); err != nil {
		t.Fatal(err)
	}
}

func TestLearn_LimitsCgroupsPerContainer(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 0))}})
	f.made(1, path(uidA, 1))
	for i := range uint64(2000) {
		f.made(10+i, path(uidA, int(2+i%500))+fmt.Sprint("/", i))
	}
	list := f.unnamed(start)
	if len(list) != learnBatch {
		t.Errorf("%d cgroups, want %d", len(list), learnBatch)
	}
	of := make(map[string]int)
	for _, u := range list {
		if of[u.container]++; of[u.container] > learnCgroups {
			t.Fatalf("more than %d of one container", learnCgroups)
		}
	}
}

// TestReadMountinfo_OfThisProcess runs the parser on the running kernel's format.
func TestReadMountinfo_OfThisProcess(t *testing.T) {
	raw, err := readMountinfo("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) == 0 || !bytes.Contains(raw, []byte(" /proc ")) {
		t.Errorf("read %q", raw)
	}
	if name, ok := containerName(raw, uidA); ok {
		t.Errorf("a container %q of a pod that does not exist", name)
	}
}
