//go:build linux

package gpu

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

const (
	// podResources is the path of the socket below a kubelet's root directory.
	podResources = "pod-resources/kubelet.sock"
	// nodePlace is the placeholder for the node's name in a configured path.
	nodePlace = "{node}"
	// maxCommandLine limits the bytes read of a process's command line.
	maxCommandLine = 64 << 10
)

// kubeletRoots are the default root directories of kubelets, for those whose process is not visible or has no
// --root-dir: that of Kubernetes, k3s, RKE2 and most others first.
var kubeletRoots = []string{
	"/var/lib/kubelet",
	"/var/lib/k0s/kubelet",
	"/var/snap/microk8s/common/var/lib/kubelet",
	"/opt/rke/var/lib/kubelet",     // RKE on RancherOS
	"/var/data/kubelet",            // IBM Cloud
	"/var/vcap/data/kubelet",       // Tanzu Kubernetes Grid Integrated
	"/mnt/paas/kubernetes/kubelet", // Huawei Cloud
}

// kubelets finds the pod-resources socket of this node's kubelet. Any process can use the name kubelet and any root
// directory, so only one with the node's root directory and outside all pods' cgroups is trusted.
type kubelets struct {
	places
	// node is this node's name. wanted is the path of the socket; empty: search for it.
	node, wanted string

	// guard is for command lines: reading one waits for a lock that the process may hold.
	guard *rootfs.Guard
}

const (
	commandLineLimit = time.Second
	maxHungReads     = 4
	// maxCgroupFile limits the bytes read of a process's cgroups: a path of at most 4 KiB for each of the hierarchies.
	maxCgroupFile = 64 << 10
)

// socket is a path on the node, and the root directory that it begins at.
type socket struct{ root, path string }

// kubelet holds the options in a running kubelet's command line.
type kubelet struct {
	root string // --root-dir
	name string // --hostname-override
}

func (k *kubelets) find() (socket, error) {
	if k.wanted != "" {
		path := strings.ReplaceAll(k.wanted, nodePlace, k.node)
		if s := (socket{k.host, path}); s.exists() {
			return s, nil
		}
		return socket{}, fmt.Errorf("--pod-resources %s: there is no such socket on this node%s", path, k.blind())
	}
	running, refused := k.running()
	for _, of := range k.candidates(running) {
		if s := (socket{k.host, filepath.Join(of.root, podResources)}); s.exists() {
			return s, nil
		}
	}
	if len(running) > 1 {
		return socket{},
			fmt.Errorf("%d kubelets run on this machine, and it is unknown which one is %s's: --pod-resources sets "+
				"the socket", len(running), k.node)
	}
	for _, root := range kubeletRoots {
		if s := (socket{k.host, filepath.Join(root, podResources)}); s.exists() {
			return s, nil
		}
	}
	ignored := ""
	if refused > 0 {
		ignored = fmt.Sprintf(" (processes called kubelet that run in a pod, not as root or with another root "+
			"directory than the"+
			" node's are ignored: %d; --pod-resources names the socket)", refused)
	}
	return socket{}, fmt.Errorf("no %s below a kubelet's root directory%s%s", podResources, ignored, k.blind())
}

// candidates returns the running kubelets that may be this node's, the likeliest first: several nodes may share a
// machine.
func (k *kubelets) candidates(running []kubelet) (list []kubelet) {
	for _, of := range running {
		// The kubelet derives the node's name in the same way.
		if k.node != "" && strings.ToLower(strings.TrimSpace(of.name)) == k.node {
			list = append(list, of)
		}
	}
	if len(list) > 0 || len(running) == 1 {
		return append(list, running...)[:1]
	}
	for _, of := range running {
		if of.name == "" {
			list = append(list, of)
		}
	}
	if len(list) > 1 {
		return nil
	}
	return list
}

// running reads the command lines of trusted kubelets, and counts untrusted processes named kubelet.
func (k *kubelets) running() (list []kubelet, refused int) {
	host, err := rootfs.OpenRoot(k.host)
	if err != nil {
		return nil, 0
	}
	defer func() { _ = host.Close() }()
	dir, err := os.Open(k.proc)
	if err != nil {
		return nil, 0
	}
	defer dir.Close()
	if k.guard == nil {
		k.guard = rootfs.NewGuard(commandLineLimit, maxHungReads)
	}
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		switch of, found, trusted := k.examineProcess(host, pid); {
		case found && trusted:
			list = append(list, of)
		case found:
			refused++
		}
	}
	return list, refused
}

// examineProcess reports whether a process is a kubelet. Of an untrusted one, it reads only the name, because the
// command line may hang.
func (k *kubelets) examineProcess(host *rootfs.Root, pid int) (of kubelet, found, trusted bool) {
	p, err := rootfs.OpenProcess(k.proc, pid)
	if err != nil {
		return kubelet{}, false, false
	}
	if !k.onNode(host, p) {
		comm, err := p.ReadFile("comm", 64)
		_ = p.Close()
		return kubelet{}, err == nil && string(bytes.TrimSpace(comm)) == "kubelet", false
	}
	cmdline, err := rootfs.Do(k.guard, func() ([]byte, error) {
		defer func() { _ = p.Close() }()
		return p.ReadFile("cmdline", maxCommandLine)
	}, nil)
	if err != nil {
		return kubelet{}, false, false
	}
	of, found = parseKubelet(cmdline)
	return of, found, true
}

// onNode reports whether a process belongs to the node: its user is root, it has the node's root directory, and it is
// in no pod.
func (k *kubelets) onNode(host *rootfs.Root, p *rootfs.Process) bool {
	if uid, err := p.UID(); err != nil || !privileged(uid) {
		return false
	}
	cgroups, err := p.ReadFile("cgroup", maxCgroupFile)
	if err != nil || pods.InPod(cgroups) {
		return false
	}
	root, err := p.Root()
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	same, err := host.SameDirectory(root)
	return err == nil && same
}

// privileged reports whether a user is root or this process's own user, which differs only in tests.
func privileged(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }

// parseKubelet parses a kubelet's /proc/PID/cmdline, see proc(5).
func parseKubelet(cmdline []byte) (of kubelet, ok bool) {
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	for len(args) > 0 && filepath.Base(args[0]) == "hyperkube" {
		args = args[1:]
	}
	if len(args) == 0 || filepath.Base(args[0]) != "kubelet" {
		return kubelet{}, false
	}
	of.root = kubeletRoots[0]
	for i, arg := range args[1:] {
		name, value, joined := strings.Cut(arg, "=")
		if !joined && i+2 < len(args) {
			value = args[i+2]
		}
		switch name {
		case "--root-dir":
			of.root = value
		case "--hostname-override":
			of.name = value
		}
	}
	return of, filepath.IsAbs(of.root)
}

// exists reports whether the path is a socket.
func (s socket) exists() bool {
	f, err := s.open()
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// open opens the socket's inode. Connect to it by its path in /proc/self/fd.
func (s socket) open() (*os.File, error) {
	f, err := s.lookup(s.path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = fmt.Errorf("%s is no socket", s.path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lookup finds a file below the root of the socket.
func (s socket) lookup(path string) (*os.File, error) {
	root, err := rootfs.OpenRoot(s.root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.Lookup(path)
}

// dial connects to the socket and checks the listening process. proc is the node's /proc.
func dial(ctx context.Context, s socket, proc string) (net.Conn, error) {
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var d net.Dialer
	// The path may be longer than the 107 bytes that connect(2) accepts.
	conn, err := d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, err
	}
	if err := checkPeer(conn, proc); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s is not the kubelet's: %w", s.path, err)
	}
	return conn, nil
}

// checkPeer refuses a listening process that is not root's or that runs in a pod.
func checkPeer(conn net.Conn, proc string) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a connection of type %T", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("SO_PEERCRED: %w", failed)
	}
	if !privileged(peer.Uid) {
		return fmt.Errorf("user %d listens on it, want root", peer.Uid)
	}
	p, err := rootfs.OpenProcess(proc, int(peer.Pid))
	if err != nil {
		return fmt.Errorf("the process that listens on it cannot be examined: %w", err)
	}
	defer func() { _ = p.Close() }()
	cgroups, err := p.ReadFile("cgroup", maxCgroupFile)
	if err != nil {
		return fmt.Errorf("the cgroup of the process that listens on it: %w", err)
	}
	if pods.InPod(cgroups) {
		return fmt.Errorf("process %d listens on it, which runs in a pod", peer.Pid)
	}
	return nil
}
