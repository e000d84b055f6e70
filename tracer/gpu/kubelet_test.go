//go:build linux

package gpu

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machineFiles is a node's files and processes, made for a test.
type machineFiles struct {
	t          *testing.T
	host, proc string
}

func newMachine(t *testing.T) *machineFiles {
	dir, err := os.MkdirTemp("", "k") // short, as a socket's path has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machineFiles{t, filepath.Join(dir, "h"), filepath.Join(dir, "p")}
	m.write(filepath.Join(m.host, "etc/os-release"), "")
	m.write(filepath.Join(m.proc, "self"), "")
	return m
}

func (m *machineFiles) write(path, content string) {
	m.t.Helper()
	write(m.t, path, content)
}

// socket makes one below a root.
func (m *machineFiles) socket(root, path string) {
	m.t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Close() })
}

// process makes one with the node's root, or one of its own.
func (m *machineFiles) process(pid int, own bool, args ...string) (root string) {
	m.t.Helper()
	dir := filepath.Join(m.proc, fmt.Sprint(pid))
	m.write(filepath.Join(dir, "cmdline"), strings.Join(args, "\x00")+"\x00")
	root = m.host
	if own {
		root = filepath.Join(filepath.Dir(m.host), "r"+fmt.Sprint(pid))
		if err := os.MkdirAll(root, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.Symlink(root, filepath.Join(dir, "root")); err != nil {
		m.t.Fatal(err)
	}
	return root
}

func (m *machineFiles) find(node, wanted string) (socket, error) {
	k := kubelets{places: places{own: "/", host: m.host, proc: m.proc}, node: node, wanted: wanted}
	return k.find()
}

func (m *machineFiles) expect(node, wanted, path string) {
	m.t.Helper()
	s, err := m.find(node, wanted)
	if err != nil || s.path != path {
		m.t.Errorf("node %q, asked for %q: %q, %v; want %q", node, wanted, s.path, err, path)
		return
	}
	c, err := dial(m.t.Context(), s.file)
	if err != nil {
		m.t.Errorf("connect: %v", err)
		return
	}
	c.Close()
}

func (m *machineFiles) refuse(node, wanted, says string) {
	m.t.Helper()
	if s, err := m.find(node, wanted); err == nil || !strings.Contains(err.Error(), says) {
		m.t.Errorf("node %q, asked for %q: %+v, %v; want an error that says %q", node, wanted, s, err, says)
	}
}

const sock = "/pod-resources/kubelet.sock"

func TestTheSocketIsFoundWhereNoKubeletIsSeen(t *testing.T) {
	for _, root := range kubeletRoots {
		m := newMachine(t)
		m.refuse("a", "", "no pod-resources/kubelet.sock below a kubelet's root directory")
		m.socket(m.host, root+sock)
		m.expect("a", "", root+sock)
	}
}

func TestTheSocketIsFoundThroughALink(t *testing.T) {
	m := newMachine(t)
	m.socket(m.host, "/mnt/disk"+sock)
	if err := os.MkdirAll(m.host+"/var/lib", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/mnt/disk", m.host+"/var/lib/kubelet"); err != nil {
		t.Fatal(err)
	}
	m.expect("a", "", "/var/lib/kubelet"+sock)
}

func TestTheSocketIsThatOfTheRunningKubelet(t *testing.T) {
	m := newMachine(t)
	m.process(1, false, "/sbin/init")
	m.process(10, false, "/usr/bin/kubelet", "--root-dir", "/data/kubelet", "--config=/etc/k.yaml")
	m.process(11, false, "grep", "kubelet", "--root-dir=/wrong")
	m.socket(m.host, "/data/kubelet"+sock)
	m.socket(m.host, "/var/lib/kubelet"+sock) // of one that was
	m.expect("a", "", "/data/kubelet"+sock)
}

func TestTheSocketOfAKubeletInAContainerIsInItsFiles(t *testing.T) {
	m := newMachine(t)
	root := m.process(10, true, "hyperkube", "kubelet", "--hostname-override=other-than-the-node")
	m.socket(root, "/var/lib/kubelet"+sock)
	m.expect("a", "", "/var/lib/kubelet"+sock)
}

func TestNodesOfOneMachineHaveSocketsOfTheirOwn(t *testing.T) {
	m := newMachine(t)
	m.socket(m.host, "/var/lib/kubelet"+sock)
	for i, name := range []string{"a", "B"} {
		m.process(10+i, false, "/k/kubelet", "--root-dir=/state/"+name, "--hostname-override="+name)
		m.socket(m.host, "/state/"+name+sock)
	}
	m.expect("a", "", "/state/a"+sock)
	m.expect("b", "", "/state/B"+sock) // as the kubelet makes its node's name of it
	m.refuse("c", "", "2 kubelets run on this machine, and which one is c's cannot be told")
}

func TestAKubeletOfAClusterInAContainerIsNotTheNodes(t *testing.T) {
	m := newMachine(t)
	m.process(10, false, "/usr/bin/kubelet")
	nested := m.process(11, true, "/usr/bin/kubelet")
	m.socket(nested, "/var/lib/kubelet"+sock)
	m.refuse("a", "", "2 kubelets run")
	m.socket(m.host, "/var/lib/kubelet"+sock)
	if s, err := m.find("a", ""); err != nil || !strings.HasPrefix(s.file, m.proc+"/10/") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestTheSocketThatWasAskedForIsTaken(t *testing.T) {
	m := newMachine(t)
	m.process(10, false, "/usr/bin/kubelet")
	m.socket(m.host, "/var/lib/kubelet"+sock)
	m.socket(m.host, "/fake/a/x.sock")
	m.expect("a", "/fake/{node}/x.sock", "/fake/a/x.sock")
	m.refuse("b", "/fake/{node}/x.sock", "--pod-resources /fake/b/x.sock: there is no such socket on this node")
	m.write(m.host+"/fake/b/x.sock", "a file")
	m.refuse("b", "/fake/{node}/x.sock", "there is no such socket")
}

func TestASocketMayHaveALongPath(t *testing.T) {
	m := newMachine(t)
	long := filepath.Join(m.host, strings.Repeat("/a-directory-with-a-long-name", 10))
	m.socket(m.host, "/short.sock")
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.host, "short.sock"), filepath.Join(long, "kubelet.sock")); err != nil {
		t.Fatal(err)
	}
	m.expect("a", strings.TrimPrefix(long, m.host)+"/kubelet.sock", strings.TrimPrefix(long, m.host)+"/kubelet.sock")
}

// FuzzKubelet: a command line comes from whoever runs a process.
func FuzzKubelet(f *testing.F) {
	f.Add([]byte("/usr/bin/kubelet\x00--root-dir=/a\x00--hostname-override\x00b\x00"))
	f.Add([]byte("hyperkube\x00kubelet\x00--root-dir"))
	f.Add([]byte("hyperkube"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		if of, ok := parseKubelet(cmdline); ok && !filepath.IsAbs(of.root) {
			t.Errorf("%q: root %q", cmdline, of.root)
		}
	})
}
