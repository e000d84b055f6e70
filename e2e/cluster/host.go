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

// tunables are kernel settings that a kubelet makes for the whole machine: it will not start with others, and panic or
// reboot is not what the owner of the machine chose.
var tunables = map[string]string{
	"vm/overcommit_memory":     "1",
	"vm/panic_on_oom":          "0",
	"kernel/panic":             "10",
	"kernel/panic_on_oops":     "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// places are directories, and a socket, that the daemons make outside the state directory where nothing can tell them
// not to: what is in a directory comes after it.
var places = []string{
	"/run/mount", "/run/mount/utab", "/run/netns", "/run/containerd", "/run/containerd/s", "/run/runc",
	"/var/lib/cni", "/var/lib/cni/results", "/var/lib/kubelet", "/var/lib/kubelet/device-plugins",
	"/var/lib/kubelet/device-plugins/kubelet.sock",
	"/var/log/containers",
}

// host is what the machine was like before up changed it. It stands in the state directory from before the first change
// until after the last one is undone.
type host struct {
	// Sysctls are the tunables that a kubelet is going to change, by their path below /proc/sys.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Missing are the places that did not exist.
	Missing []string `json:"missing,omitempty"`
	// NetnsMount tells that /run/netns was no mount point: the first `ip netns add` makes it one.
	NetnsMount bool `json:"netnsMount,omitempty"`
	// Controllers are those that the root of a unified cgroup hierarchy did not pass on.
	Controllers []string `json:"controllers,omitempty"`
}

func (c *cluster) hostFile() string { return c.path("host.json") }

// remember records the machine as it is.
func (c *cluster) remember() error {
	h := host{Sysctls: map[string]string{}}
	for name, made := range tunables {
		// What is as the kubelets want it is not ours to restore: another cluster beside this one may have made it so.
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

// mountPoint reports whether something is mounted at a path, even the same filesystem.
func mountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// restore undoes what was done to the machine since remember. Without a record there was no change.
func (c *cluster) restore() error {
	b, err := os.ReadFile(c.hostFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var h host
	if err := json.Unmarshal(b, &h); err != nil {
		// Killed while it was written: nothing had been changed yet.
		return nil
	}
	var errs []error
	for name, value := range h.Sysctls {
		errs = append(errs, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
	}
	for _, controller := range h.Controllers {
		// Busy where another cgroup has come to use it since: then it is no longer ours.
		if err := setController(unifiedRoot, "-"+controller); err != nil && !errors.Is(err, syscall.EBUSY) {
			errs = append(errs, err)
		}
	}
	if h.NetnsMount {
		// Busy where somebody else has put a namespace there since.
		if err := unix.Unmount("/run/netns", 0); err != nil && !errors.Is(err, unix.EINVAL) &&
			!errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("unmount /run/netns: %w", err))
		}
	}
	for _, dir := range slices.Backward(h.Missing) {
		os.Remove(dir) // a directory stays where others have put something into it
	}
	return errors.Join(errs...)
}

// litter are files of ours that the daemons leave outside the state directory.
func (c *cluster) litter() []string {
	var ours []string
	// Containerd keeps the shims' sockets where it cannot be configured; each bundle tells the address of its own.
	bundles, _ := filepath.Glob(c.path("node*", "run", "io.containerd.runtime.v2.task", "k8s.io", "*", "address"))
	for _, file := range bundles {
		if b, err := os.ReadFile(file); err == nil {
			if path, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "unix://"); ok &&
				strings.HasPrefix(path, "/run/containerd/s/") {
				ours = append(ours, path)
			}
		}
	}
	// The kubelets' links to logs.
	links, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, c.dir+"/") {
			ours = append(ours, link)
		}
	}
	// The CNI library's copies of results, with the path of the pod's namespace in them.
	results, _ := filepath.Glob("/var/lib/cni/results/*")
	for _, file := range results {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), `"`+c.dir+"/") {
			ours = append(ours, file)
		}
	}
	return ours
}
