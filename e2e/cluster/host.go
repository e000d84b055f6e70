package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tunables are the values of kernel settings that a kubelet sets for the whole machine. It does not start with others,
// but a panic or reboot is not what the machine's owner chose.
var tunables = map[string]string{
	"vm/overcommit_memory":     "1",
	"vm/panic_on_oom":          "0",
	"kernel/panic":             "10",
	"kernel/panic_on_oops":     "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// places are the paths that daemons create outside the state directory, and for which they have no option. A directory
// precedes its contents.
var places = []string{
	"/run/mount", "/run/mount/utab", "/run/netns", "/run/containerd", "/run/containerd/s", "/run/runc",
	"/var/lib/cni", "/var/lib/cni/results", "/var/lib/kubelet", "/var/lib/kubelet/device-plugins",
	"/var/lib/kubelet/device-plugins/kubelet.sock",
	"/var/log/containers",
}

// host is the state of the machine before up changed it. Its file is in the state directory from before the first
// change until after the last one is undone.
type host struct {
	// Sysctls are the values of the tunables that a kubelet is going to change, by their path below /proc/sys.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Missing are the places that did not exist.
	Missing []string `json:"missing,omitempty"`
	// NetnsMount reports that /run/netns was no mount point: the first `ip netns add` makes it one.
	NetnsMount bool `json:"netnsMount,omitempty"`
	// Controllers are those that the root of a unified cgroup hierarchy did not enable for its children.
	Controllers []string `json:"controllers,omitempty"`
}

func (c *cluster) hostFile() string { return c.path("host.json") }

// remember writes the machine's state to hostFile.
func (c *cluster) remember() error {
	h := host{Sysctls: map[string]string{}}
	for name, made := range tunables {
		// A setting that has the kubelets' value is not ours to restore: another cluster may have set it.
		if b, err := os.ReadFile("/proc/sys/" + name); err == nil && strings.TrimSpace(string(b)) != made {
			h.Sysctls[name] = strings.TrimSpace(string(b))
		}
	}
	for _, dir := range places {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			h.Missing = append(h.Missing, dir)
		}
	}
	h.NetnsMount = !mountPoint("/run/netns")
	if unified() {
		available, err := words(unifiedRoot, "cgroup.controllers")
		if err != nil {
			return err
		}
		passed, err := words(unifiedRoot, "cgroup.subtree_control")
		if err != nil {
			return err
		}
		h.Controllers = withheld(available, passed)
	}
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return os.WriteFile(c.hostFile(), b, 0o644)
}

// mountPoint reports whether a path is a mount point, even of the same file system.
func mountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// restore restores the machine's state from hostFile. If there is none, nothing was changed.
func (c *cluster) restore() error {
	b, err := os.ReadFile(c.hostFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var h host
	if err := json.Unmarshal(b, &h); err != nil {
		// up was killed while it wrote the file, before the first change.
		return nil
	}
	var errs []error
	for name, value := range h.Sysctls {
		errs = append(errs, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
	}
	for _, controller := range h.Controllers {
		// Busy if another cgroup uses the controller by now: then it is no longer ours.
		if err := setController(unifiedRoot, "-"+controller); err != nil && !errors.Is(err, syscall.EBUSY) {
			errs = append(errs, err)
		}
	}
	if h.NetnsMount {
		// Busy if somebody else has added a namespace by now.
		if err := unix.Unmount("/run/netns", 0); err != nil && !errors.Is(err, unix.EINVAL) &&
			!errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("unmount /run/netns: %w", err))
		}
	}
	for _, dir := range slices.Backward(h.Missing) {
		_ = os.Remove(dir) // a directory stays if others have files in it
	}
	return errors.Join(errs...)
}

// shimAddress is the address of a bundle's shim: in the file address, or from containerd 2.0 on in bootstrap.json.
func shimAddress(bundle string) string {
	if b, err := os.ReadFile(filepath.Join(bundle, "address")); err == nil {
		return strings.TrimSpace(string(b))
	}
	var bootstrap struct {
		Address string `json:"address"`
	}
	b, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	if err != nil || json.Unmarshal(b, &bootstrap) != nil {
		return ""
	}
	return bootstrap.Address
}

// litter lists the files of ours that the daemons leave outside the state directory.
func (c *cluster) litter() []string {
	var ours []string
	// The directory of the shims' sockets is not configurable; each bundle has a file with the address of its own.
	bundles, _ := filepath.Glob(c.path("node*", "run", "io.containerd.runtime.v2.task", "k8s.io", "*"))
	for _, bundle := range bundles {
		path, ok := strings.CutPrefix(shimAddress(bundle), "unix://")
		if ok && strings.HasPrefix(path, "/run/containerd/s/") {
			ours = append(ours, path)
		}
	}
	// The kubelets' links to logs.
	links, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, c.dir+"/") {
			ours = append(ours, link)
		}
	}
	// The CNI library's copies of results, which include the path of the pod's namespace.
	results, _ := filepath.Glob("/var/lib/cni/results/*")
	for _, file := range results {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), `"`+c.dir+"/") {
			ours = append(ours, file)
		}
	}
	return ours
}
