//go:build linux

package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// podResources is where the socket is below a kubelet's root directory.
	podResources = "pod-resources/kubelet.sock"
	// nodePlace stands for the node's name in a path that was asked for.
	nodePlace = "{node}"
	// maxCommandLine bounds what is read of a process's command line.
	maxCommandLine = 64 << 10
)

// kubeletRoots are the root directories of kubelets that say nothing of it themselves, or whose process is not seen: that of Kubernetes, k3s,
// RKE2 and most others first.
var kubeletRoots = []string{
	"/var/lib/kubelet",
	"/var/lib/k0s/kubelet",
	"/var/snap/microk8s/common/var/lib/kubelet",
	"/opt/rke/var/lib/kubelet",     // RKE on RancherOS
	"/var/data/kubelet",            // IBM Cloud
	"/var/vcap/data/kubelet",       // Tanzu Kubernetes Grid Integrated
	"/mnt/paas/kubernetes/kubelet", // Huawei Cloud
}

// kubelets finds the socket by which the kubelet of this node tells what it has given to whom.
type kubelets struct {
	places
	// node is this node's name. wanted is the socket that was asked for; empty: it is looked for.
	node, wanted string
}

// socket is one that was found: as this process can open it, and where it is on the node.
type socket struct{ file, path string }

// kubelet is a running one, as its command line has it.
type kubelet struct {
	pid             string
	root            string // --root-dir
	name            string // --hostname-override
	sharesHostsRoot bool
}

func (k *kubelets) find() (socket, error) {
	if k.wanted != "" {
		path := strings.ReplaceAll(k.wanted, nodePlace, k.node)
		if s, ok := k.open(k.host, path); ok {
			return s, nil
		}
		return socket{}, fmt.Errorf("--pod-resources %s: there is no such socket on this node%s", path, k.blind())
	}
	running := k.running()
	for _, of := range k.candidates(running) {
		if s, ok := k.open(filepath.Join(k.proc, of.pid, "root"), filepath.Join(of.root, podResources)); ok {
			return s, nil
		}
	}
	if len(running) > 1 {
		return socket{}, fmt.Errorf("%d kubelets run on this machine, and which one is %s's cannot be told: --pod-resources names the socket", len(running), k.node)
	}
	for _, root := range kubeletRoots {
		if s, ok := k.open(k.host, filepath.Join(root, podResources)); ok {
			return s, nil
		}
	}
	return socket{}, fmt.Errorf("no %s below a kubelet's root directory%s", podResources, k.blind())
}

// candidates are those of the running kubelets that may be this node's, the likeliest first: several nodes may share a machine.
func (k *kubelets) candidates(running []kubelet) (list []kubelet) {
	for _, of := range running {
		// As the kubelet makes a node's name of it.
		if k.node != "" && strings.ToLower(strings.TrimSpace(of.name)) == k.node {
			list = append(list, of)
		}
	}
	if len(list) > 0 || len(running) == 1 {
		return append(list, running...)[:1]
	}
	// One that runs in a container, as kind's do, is another cluster's.
	for _, of := range running {
		if of.name == "" && of.sharesHostsRoot {
			list = append(list, of)
		}
	}
	if len(list) > 1 {
		return nil
	}
	return list
}

// running reads the command lines of all kubelets in sight.
func (k *kubelets) running() (list []kubelet) {
	dir, err := os.Open(k.proc)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	host, _ := os.Stat(k.host)
	for _, pid := range names {
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join(k.proc, pid, "cmdline"))
		if err != nil || len(b) > maxCommandLine {
			continue
		}
		of, ok := parseKubelet(b)
		if !ok {
			continue
		}
		of.pid = pid
		own, err := os.Stat(filepath.Join(k.proc, pid, "root"))
		of.sharesHostsRoot = err == nil && host != nil && os.SameFile(own, host)
		list = append(list, of)
	}
	return list
}

// parseKubelet reads a command line of a kubelet, as proc(5) describes /proc/PID/cmdline.
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

// open gives the socket that a path stands for below a root.
func (k *kubelets) open(root, path string) (socket, bool) {
	file, err := resolve(root, path)
	if err != nil {
		return socket{}, false
	}
	info, err := os.Stat(file)
	return socket{file, path}, err == nil && info.Mode().Type() == fs.ModeSocket
}

// maxSocketPath is how long a path may be to be connected to (unix(7), without the NUL).
const maxSocketPath = 107

// dial connects to a socket, whose path may be longer than connect(2) takes.
func dial(ctx context.Context, file string) (net.Conn, error) {
	var d net.Dialer
	if len(file) <= maxSocketPath {
		return d.DialContext(ctx, "unix", file)
	}
	dir, err := unix.Open(filepath.Dir(file), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(file), Err: err}
	}
	defer unix.Close(dir)
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(file))
	if len(short) > maxSocketPath {
		return nil, errors.New("the socket's name is too long")
	}
	return d.DialContext(ctx, "unix", short)
}
