//go:build linux

package gpu

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// machineFiles are a node's files and processes.
type machineFiles struct {
	t          *testing.T
	host, proc string
}

func newMachine(t *testing.T) *machineFiles {
	dir, err := os.MkdirTemp("", "k") // short, because a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	m := &machineFiles{t, filepath.Join(dir, "h"), filepath.Join(dir, "p")}
	m.write(filepath.Join(m.host, "etc/os-release"), "")
	m.write(filepath.Join(m.proc, "self"), "")
	m.cgroup(os.Getpid(), "0::/\n") // this process listens on the sockets
	return m
}

func (m *machineFiles) write(path, content string) {
	m.t.Helper()
	write(m.t, path, content)
}

// cgroup sets the cgroups of a process.
func (m *machineFiles) cgroup(pid int, content string) {
	m.t.Helper()
	m.write(filepath.Join(m.proc, fmt.Sprint(pid), "cgroup"), content)
}

// socket listens on a socket below a root.
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
	m.t.Cleanup(func() { _ = l.Close() })
}

// process creates the files of a process with the node's root directory, or with its own.
func (m *machineFiles) process(pid int, own bool, args ...string) (root string) {
	m.t.Helper()
	dir := filepath.Join(m.proc, fmt.Sprint(pid))
	m.write(filepath.Join(dir, "cmdline"), strings.Join(args, "\x00")+"\x00")
	m.write(filepath.Join(dir, "comm"), filepath.Base(args[0])+"\n")
	m.cgroup(pid, "0::/system.slice/kubelet.service\n")
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
		m.t.Errorf("node %q, configured %q: %q, %v; want %q", node, wanted, s.path, err, path)
		return
	}
	c, err := dial(m.t.Context(), s, m.proc)
	if err != nil {
		m.t.Errorf("connect: %v", err)
		return
	}
	c.Close()
}

func (m *machineFiles) refuse(node, wanted, message string) {
	m.t.Helper()
	if s, err := m.find(node, wanted); err == nil || !strings.Contains(err.Error(), message) {
		m.t.Errorf("node %q, configured %q: %+v, %v; want an error with %q", node, wanted, s, err, message)
	}
}

const sock = "/pod-resources/kubelet.sock"

func TestKubelet_SocketInDefaultDirectories(t *testing.T) {
	for _, root := range kubeletRoots {
		m := newMachine(t)
		m.refuse("a", "", "no pod-resources/kubelet.sock below a kubelet's root directory")
		m.socket(m.host, root+sock)
		m.expect("a", "", root+sock)
	}
}

func TestKubelet_SocketBehindLink(t *testing.T) {
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

func TestKubelet_SocketOfRunningKubelet(t *testing.T) {
	m := newMachine(t)
	m.process(1, false, "/sbin/init")
	m.process(10, false, "/usr/bin/kubelet", "--root-dir", "/data/kubelet", "--config=/etc/k.yaml")
	m.process(11, false, "grep", "kubelet", "--root-dir=/wrong")
	m.socket(m.host, "/data/kubelet"+sock)
	m.socket(m.host, "/var/lib/kubelet"+sock) // of an earlier kubelet
	m.expect("a", "", "/data/kubelet"+sock)
}

func TestKubelet_WithAnotherRootIsRefused(t *testing.T) {
	m := newMachine(t)
	root := m.process(10, true, "kubelet", "--hostname-override=a")
	m.socket(root, "/var/lib/kubelet"+sock)
	m.refuse("a", "", "another root directory than the node's are ignored: 1; --pod-resources names the socket")
	m.socket(m.host, "/var/lib/kubelet"+sock)
	m.expect("a", "", "/var/lib/kubelet"+sock)
}

// impostorCgroups are /proc/PID/cgroup of processes in pods, read by tracers with and without their own cgroup
// namespace.
var impostorCgroups = map[string]string{
	"cgroupfs":                     "0::/kubepods/besteffort/pod7be1d6a2-33c4-45f0-8f5e-000000000002/x\n",
	"cgroupfs, seen from a pod":    "0::/../../pod7be1d6a2-33c4-45f0-8f5e-000000000002/x\n",
	"cgroupfs, of another class":   "0::/../../../burstable/pod7be1d6a2-33c4-45f0-8f5e-000000000002/x\n",
	"systemd, seen from a pod":     "0::/../../kubepods-pod7be1d6a2_33c4_45f0_8f5e_000000000002.slice/crio-1.scope\n",
	"a hybrid node's v1 hierarchy": "5:memory:/kubepods/pod7be1d6a2-33c4-45f0-8f5e-000000000002/x\n0::/\n",
}

func TestKubelet_InAPodIsRefused(t *testing.T) {
	for name, cgroup := range impostorCgroups {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.process(10, false, "/usr/bin/kubelet", "--root-dir=/evil", "--hostname-override=a")
			m.cgroup(10, cgroup)
			m.socket(m.host, "/evil"+sock)
			m.refuse("a", "", "processes called kubelet that run in a pod")
			m.process(11, false, "/usr/bin/kubelet")
			m.socket(m.host, "/var/lib/kubelet"+sock)
			m.expect("a", "", "/var/lib/kubelet"+sock)
		})
	}
}

func TestKubelet_HangingProcessIsSkipped(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.process(10, false, "/usr/bin/kubelet")
	cmdline := filepath.Join(m.proc, "10/cmdline")
	if err := os.Remove(cmdline); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(cmdline, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // unblocks the reader
		if f, err := os.OpenFile(cmdline, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	m.process(11, false, "/usr/bin/kubelet", "--root-dir=/data")
	m.socket(m.host, "/data"+sock)
	m.expect("a", "", "/data"+sock)
}

func TestDial_ChecksListeningProcess(t *testing.T) {
	for name, cgroup := range impostorCgroups {
		m := newMachine(t)
		m.socket(m.host, "/var/lib/kubelet"+sock)
		m.cgroup(os.Getpid(), cgroup)
		s, err := m.find("a", "")
		if err != nil {
			t.Fatal(err)
		}
		if c, err := dial(t.Context(), s, m.proc); err == nil || !strings.Contains(err.Error(), "which runs in a pod") {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	m := newMachine(t)
	m.socket(m.host, "/var/lib/kubelet"+sock)
	s, err := m.find("a", "")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := dial(t.Context(), s, t.TempDir()); err == nil || !strings.Contains(err.Error(), "cannot be examined") {
		t.Errorf("a process outside /proc: %v, %v", c, err)
	}
}

// TestDial_RequiresRoot runs this test in a child process, which listens as another user.
func TestDial_RequiresRoot(t *testing.T) {
	const variable = "ORB8_LISTEN"
	if path := os.Getenv(variable); path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("listens")
		_, _ = io.Copy(io.Discard, os.Stdin)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to start a process as another user")
	}
	m := newMachine(t)
	dir := filepath.Join(m.host, "var/lib/kubelet/pod-resources")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(m.host), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	program, err := os.Open("/proc/self/exe") // only root may be able to read its path
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestDial_RequiresRoot$", "-test.v")
	cmd.Dir, cmd.ExtraFiles = "/", []*os.File{program}
	cmd.Env = append(os.Environ(), variable+"="+filepath.Join(dir, "kubelet.sock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "listens"; {
	}
	s, err := m.find("a", "")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := dial(t.Context(), s, "/proc"); err == nil ||
		!strings.Contains(err.Error(), "user 65534 listens on it, want root") {
		t.Errorf("%v, %v", c, err)
	}
}

func TestKubelet_SeveralNodesOnOneMachine(t *testing.T) {
	m := newMachine(t)
	m.socket(m.host, "/var/lib/kubelet"+sock)
	for i, name := range []string{"a", "B"} {
		m.process(10+i, false, "/k/kubelet", "--root-dir=/state/"+name, "--hostname-override="+name)
		m.socket(m.host, "/state/"+name+sock)
	}
	m.expect("a", "", "/state/a"+sock)
	m.expect("b", "", "/state/B"+sock) // the kubelet derives the node's name in lower case
	m.refuse("c", "", "2 kubelets run on this machine, and it is unknown which one is c's")
}

func TestKubelet_InContainerIsIgnored(t *testing.T) {
	m := newMachine(t)
	m.process(10, false, "/usr/bin/kubelet")
	nested := m.process(11, true, "/usr/bin/kubelet")
	m.socket(nested, "/var/lib/kubelet"+sock)
	m.refuse("a", "", "are ignored: 1")
	m.socket(m.host, "/var/lib/kubelet"+sock)
	m.expect("a", "", "/var/lib/kubelet"+sock)
}

func TestKubelet_ConfiguredSocket(t *testing.T) {
	m := newMachine(t)
	m.process(10, false, "/usr/bin/kubelet")
	m.socket(m.host, "/var/lib/kubelet"+sock)
	m.socket(m.host, "/fake/a/x.sock")
	m.expect("a", "/fake/{node}/x.sock", "/fake/a/x.sock")
	m.refuse("b", "/fake/{node}/x.sock", "--pod-resources /fake/b/x.sock: there is no such socket on this node")
	m.write(m.host+"/fake/b/x.sock", "a file")
	m.refuse("b", "/fake/{node}/x.sock", "there is no such socket")
}

func TestDial_LongPath(t *testing.T) {
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

// FuzzKubelet: the command line and cgroups of a process are untrusted.
func FuzzKubelet(f *testing.F) {
	cgroup := []byte("0::/system.slice/kubelet.service\n")
	f.Add([]byte("/usr/bin/kubelet\x00--root-dir=/a\x00--hostname-override\x00b\x00"), cgroup)
	f.Add([]byte("hyperkube\x00kubelet\x00--root-dir"), cgroup)
	f.Add([]byte("hyperkube"), []byte("0::/kubepods/pod0f7a5c2e-8b1d-4f7e-9a33-5d2f6f0b9c11/x"))
	f.Add([]byte{}, []byte("0::/../../burstable/pod0f7a5c2e-8b1d-4f7e-9a33-5d2f6f0b9c11/x\n1:a"))
	f.Fuzz(func(t *testing.T, cmdline, cgroup []byte) {
		if of, ok := parseKubelet(cmdline); ok {
			path := filepath.Join(of.root, podResources)
			if !filepath.IsAbs(of.root) || !filepath.IsAbs(path) || strings.Contains(path, "/../") {
				t.Errorf("%q: root %q", cmdline, of.root)
			}
		}
		// Every cgroup below a pod's cgroup is in the pod.
		if pods.InPod(cgroup) && !pods.InPod(append(bytes.Clone(cgroup), "\n0::/x"...)) {
			t.Errorf("%q is in a pod, and not with another hierarchy", cgroup)
		}
		line := bytes.TrimSpace(bytes.Split(cgroup, []byte{'\n'})[0])
		if pods.InPod(line) && !pods.InPod(append(bytes.Clone(line), "/../kubelet.service"...)) {
			t.Errorf("%q is in a pod, and not below", line)
		}
	})
}
