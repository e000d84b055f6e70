package pods

import (
	"encoding/hex"
	"strings"
)

// Place is a pod, and perhaps its container, in a cgroup's path.
type Place struct {
	// Pod is the pod's UID, or a static pod's config hash, as in the API.
	Pod string
	// Container is the runtime's id, 64 hex digits. It is empty for the pod's own cgroup and for cgroups of the pod
	// outside its containers: a runtime's monitor, a virtual machine's shim.
	Container string
	// Runtime is the runtime's prefix of the id ("cri-containerd", "crio", "docker"); empty if there is none.
	Runtime string
}

// containerIDLength is the length of a container id in hex digits: containerd, CRI-O and Docker all use 32 random
// bytes.
const containerIDLength = 64

// Places returns the pods in a cgroup's path from the root of the hierarchy, outermost first: none for the host's own
// cgroups, usually one, and several where a node runs in a pod of another cluster. In that case the caller finds its
// own by the list of its node's pods.
//
// It supports the kubelet's two layouts, under any --cgroup-root:
//
//	…/kubepods[/QOS]/podUID/ID                                    cgroupfs driver
//	….slice/…kubepods[-QOS]-podUID.slice/RUNTIME-ID.scope         systemd driver, "-" in UIDs written "_"
//	…/…kubepods[-QOS]-podUID.slice:RUNTIME:ID                     kubelet on systemd, runtime on cgroupfs
//
// Cgroups below a container's cgroup belong to that container.
func Places(path string) []Place {
	var places []Place
	var grandparent, parent string
	inPod := false // parent is a pod's own cgroup
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if name == "" {
			continue
		}
		place, ok := podPlace(grandparent, parent, name)
		switch {
		case ok:
			places = append(places, place)
		case inPod:
			last := &places[len(places)-1]
			last.Runtime, last.Container = containerOf(name)
		}
		inPod = ok && place.Container == ""
		grandparent, parent = parent, name
	}
	return places
}

// InPod reports whether the contents of a /proc/PID/cgroup, see cgroups(7), belong to a process in a pod. The kernel's
// paths are relative to the root of the reader's cgroup namespace: those of other pods may begin with ".." and lack
// "kubepods".
func InPod(cgroups []byte) bool {
	for line := range strings.Lines(string(cgroups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		_, path, _ := strings.Cut(rest, ":")
		if len(Places(path)) > 0 {
			return true
		}
		above := false // so far, the path only has ".."
		for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
			uid, ok := strings.CutPrefix(name, "pod")
			if _, known := kernelKey(uid); ok && known && above {
				return true
			}
			above = name == ".." || above && (name == "burstable" || name == "besteffort")
		}
	}
	return false
}

// podPlace reports whether name, below grandparent/parent, is a pod's cgroup.
func podPlace(grandparent, parent, name string) (Place, bool) {
	if slice, unit, mixed := strings.Cut(name, ":"); mixed {
		place, ok := slicePlace(slice)
		if !ok {
			return Place{}, false
		}
		prefix, id, _ := strings.Cut(unit, ":")
		if isContainerID(id) && !isMonitor(prefix) {
			place.Runtime, place.Container = prefix, id
		}
		return place, true
	}
	if uid, ok := strings.CutPrefix(name, "pod"); ok && uid != "" {
		inQOS := parent == "burstable" || parent == "besteffort"
		if parent == "kubepods" || inQOS && grandparent == "kubepods" {
			return Place{Pod: canonical(uid)}, true
		}
	}
	return slicePlace(name)
}

// slicePlace parses the name of a pod's systemd slice. It repeats the names of all its parents: the kubelet's
// --cgroup-root, "kubepods" and, except for guaranteed pods, the QoS class.
func slicePlace(name string) (Place, bool) {
	stem, ok := strings.CutSuffix(name, ".slice")
	if !ok {
		return Place{}, false
	}
	i := strings.LastIndex(stem, "-pod")
	if i < 0 {
		return Place{}, false
	}
	parents, uid := stem[:i], stem[i+len("-pod"):]
	parents = strings.TrimSuffix(strings.TrimSuffix(parents, "-burstable"), "-besteffort")
	if uid == "" || parents != "kubepods" && !strings.HasSuffix(parents, "-kubepods") {
		return Place{}, false
	}
	return Place{Pod: canonical(uid)}, true
}

// containerOf parses the name of a cgroup directly below a pod's.
func containerOf(name string) (runtime, id string) {
	name = strings.TrimSuffix(name, ".scope")
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		runtime, name = name[:i], name[i+1:]
	}
	if !isContainerID(name) || isMonitor(runtime) {
		return "", ""
	}
	return runtime, name
}

// isMonitor reports whether a name is the cgroup of CRI-O's per-container monitor process, which carries the
// container's id too.
func isMonitor(runtime string) bool { return runtime == "crio-conmon" || runtime == "libpod-conmon" }

func isContainerID(s string) bool {
	if len(s) != containerIDLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// canonical undoes systemd's escape of "-". UIDs that Kubernetes generates have no underscore, and others are only
// compared in this form.
func canonical(uid string) string { return strings.ReplaceAll(uid, "_", "-") }

// kernelKey returns a UID or config hash as the key of the kernel's map: 16 bytes. Other UIDs, which only hand-written
// static pods have, are not matched in the kernel.
func kernelKey(uid string) (key [16]byte, ok bool) {
	switch len(uid) {
	case 32:
	case 36:
		if uid[8] != '-' || uid[13] != '-' || uid[18] != '-' || uid[23] != '-' {
			return key, false
		}
		uid = uid[:8] + uid[9:13] + uid[14:18] + uid[19:23] + uid[24:]
	default:
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(uid))
	return key, err == nil
}
