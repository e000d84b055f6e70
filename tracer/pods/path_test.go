package pods

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	uidA  = "0f7a5c2e-8b1d-4f7e-9a33-5d2f6f0b9c11"
	uidB  = "7be1d6a2-33c4-45f0-8f5e-000000000002"
	uidA_ = "0f7a5c2e_8b1d_4f7e_9a33_5d2f6f0b9c11"
	hash  = "8a3c0fd7f0f4b1fbb1d1b70f04b1c9a2"
)

var (
	idA = strings.Repeat("0123456789abcdef", 4)
	idB = strings.Repeat("fedcba9876543210", 4)
)

func TestPlaces_EveryLayout(t *testing.T) {
	for _, test := range []struct {
		name, path string
		want       []Place
	}{
		{"cgroupfs, guaranteed", "/kubepods/pod" + uidA + "/" + idA, []Place{{uidA, idA, ""}}},
		{"cgroupfs, burstable", "/kubepods/burstable/pod" + uidA + "/" + idA, []Place{{uidA, idA, ""}}},
		{"cgroupfs, best effort", "/kubepods/besteffort/pod" + uidA + "/" + idA, []Place{{uidA, idA, ""}}},
		{"cgroupfs, a kubelet root of its own", "/orb8-node1/kubepods/burstable/pod" + uidA + "/" + idA,
			[]Place{{uidA, idA, ""}}},
		{"cgroupfs, CRI-O", "/kubepods/burstable/pod" + uidA + "/crio-" + idA, []Place{{uidA, idA, "crio"}}},
		{"cgroupfs, static pod", "/kubepods/pod" + hash + "/" + idA, []Place{{hash, idA, ""}}},
		{"cgroupfs, UID that is no UUID", "/kubepods/podweb-on-node1/" + idA, []Place{{"web-on-node1", idA, ""}}},
		{"path without a leading slash", "kubepods/pod" + uidA + "/" + idA, []Place{{uidA, idA, ""}}},

		{"systemd, containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidA_ +
			".slice/cri-containerd-" + idA + ".scope", []Place{{uidA, idA, "cri-containerd"}}},
		{"systemd, guaranteed, CRI-O", "/kubepods.slice/kubepods-pod" + uidA_ + ".slice/crio-" + idA + ".scope",
			[]Place{{uidA, idA, "crio"}}},
		{"systemd, Docker", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uidA_ +
			".slice/docker-" + idA + ".scope", []Place{{uidA, idA, "docker"}}},
		{"systemd, static pod", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + hash +
			".slice/cri-containerd-" + idA + ".scope", []Place{{hash, idA, "cri-containerd"}}},
		{"systemd, a kubelet root of its own",
			"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" +
				uidA_ + ".slice/cri-containerd-" + idA + ".scope", []Place{{uidA, idA, "cri-containerd"}}},
		{"a node in a Docker container", "/system.slice/docker-" + idB +
			".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uidA_ + ".slice/cri-containerd-" +
			idA + ".scope", []Place{{uidA, idA, "cri-containerd"}}},
		{"kubelet on systemd, containerd on cgroupfs", "/system.slice/containerd.service/kubepods-burstable-pod" +
			uidA_ + ".slice:cri-containerd:" + idA, []Place{{uidA, idA, "cri-containerd"}}},

		{"below a container", "/kubepods/pod" + uidA + "/" + idA + "/init.scope/x", []Place{{uidA, idA, ""}}},
		{"below a container, looking like another", "/kubepods/pod" + uidA + "/" + idA + "/" + idB,
			[]Place{{uidA, idA, ""}}},
		{"below a container, looking like a monitor", "/kubepods/pod" + uidA + "/" + idA + "/crio-conmon-" + idA,
			[]Place{{uidA, idA, ""}}},
		{"below a systemd container", "/kubepods.slice/kubepods-pod" + uidA_ + ".slice/crio-" + idA +
			".scope/container", []Place{{uidA, idA, "crio"}}},
		{"below a mixed container", "/kubepods-pod" + uidA_ + ".slice:cri-containerd:" + idA + "/" + idB,
			[]Place{{uidA, idA, "cri-containerd"}}},
		{"a node in a pod", "/kubepods/pod" + uidA + "/" + idA + "/kubelet/kubepods/burstable/pod" + uidB + "/" + idB,
			[]Place{{uidA, idA, ""}, {uidB, idB, ""}}},

		{"a pod's own cgroup", "/kubepods/burstable/pod" + uidA, []Place{{Pod: uidA}}},
		{"a pod's own slice", "/kubepods.slice/kubepods-pod" + uidA_ + ".slice", []Place{{Pod: uidA}}},
		{"CRI-O's monitor is no container", "/kubepods.slice/kubepods-pod" + uidA_ + ".slice/crio-conmon-" + idA +
			".scope", []Place{{Pod: uidA}}},
		{"CRI-O's monitor under cgroupfs", "/kubepods/pod" + uidA + "/crio-conmon-" + idA, []Place{{Pod: uidA}}},
		{"a monitor in a mixed layout", "/kubepods-pod" + uidA_ + ".slice:crio-conmon:" + idA, []Place{{Pod: uidA}}},
		{"a child that is no container", "/kubepods/pod" + uidA + "/kata_overhead", []Place{{Pod: uidA}}},
		{"a grandchild of a child that is no container", "/kubepods/pod" + uidA + "/kata_overhead/" + idA,
			[]Place{{Pod: uidA}}},
		{"an id cut short", "/kubepods/pod" + uidA + "/" + idA[:63], []Place{{Pod: uidA}}},
		{"an id that is no hex", "/kubepods/pod" + uidA + "/" + strings.ToUpper(idA), []Place{{Pod: uidA}}},

		{"the root", "/", nil},
		{"nothing", "", nil},
		{"a host service", "/system.slice/containerd.service", nil},
		{"the kubelet's own slices", "/kubepods.slice/kubepods-burstable.slice", nil},
		{"a container outside pods", "/docker/" + idA, nil},
		{"a pod-like name outside kubepods", "/user.slice/pod" + uidA + "/" + idA, nil},
		{"a QoS class outside kubepods", "/other/burstable/pod" + uidA, nil},
		{"a pod without UID", "/kubepods/pod/" + idA, nil},
		{"a slice without UID", "/kubepods.slice/kubepods-pod.slice/" + idA, nil},
		{"a slice that only ends like kubepods", "/notkubepods-pod" + uidA_ + ".slice/x", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Places(test.path)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.path, diff)
			}
		})
	}
}

func TestKernelKey_UUIDsAndHashes(t *testing.T) {
	a, ok := kernelKey(uidA)
	if want := [16]byte{0x0f, 0x7a, 0x5c, 0x2e, 0x8b, 0x1d, 0x4f, 0x7e, 0x9a, 0x33, 0x5d, 0x2f, 0x6f, 0x0b, 0x9c,
		0x11}; !ok || a != want {
		t.Errorf("UUID: %x, %v", a, ok)
	}
	if b, ok := kernelKey(strings.ReplaceAll(uidA, "-", "")); !ok || b != a {
		t.Errorf("32 hex digits: %x, %v", b, ok)
	}
	for _, uid := range []string{"", "web-on-node1", uidA_, strings.Repeat("g", 32), uidA + "0",
		strings.Repeat("-", 36)} {
		if key, ok := kernelKey(uid); ok {
			t.Errorf("%q became %x", uid, key)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add("/kubepods/burstable/pod" + uidA + "/" + idA + "/x")
	f.Add("/kubepods.slice/kubepods-pod" + uidA_ + ".slice/crio-conmon-" + idA + ".scope")
	f.Add("/a-kubepods-burstable-pod" + uidA_ + ".slice:cri-containerd:" + idA)
	f.Fuzz(func(t *testing.T, path string) {
		places := Places(path)
		for _, p := range places {
			if p.Pod == "" || strings.ContainsAny(p.Pod, "/_") {
				t.Errorf("%q: pod %q", path, p.Pod)
			}
			if p.Container != "" && (!isContainerID(p.Container) || !strings.Contains(path, p.Container)) {
				t.Errorf("%q: container %q", path, p.Container)
			}
		}
		// Cgroups that a container creates below its own must not change its identity.
		if n := len(places); n > 0 && places[n-1].Container != "" {
			deeper := Places(path + "/" + idB)
			if diff := cmp.Diff(places, deeper); diff != "" {
				t.Errorf("%q and below (-path +below):\n%s", path, diff)
			}
		}
	})
}

func TestInPod(t *testing.T) {
	for cgroups, want := range map[string]bool{
		"0::/":                                   false,
		"0::/system.slice/kubelet.service\n":     false,
		"0::/podruntime/kubelet\n":               false,
		"0::/../../podruntime/kubelet\n":         false,
		"0::/../../../kubelet\n":                 false,
		"0::/docker/" + idA + "/kubelet.slice\n": false,
		"":                                       false,
		"0::/kubepods/pod" + uidA + "/" + idA + "\n":                           true,
		"0::/../../pod" + uidA + "/" + idA + "\n":                              true,
		"0::/../../../besteffort/pod" + hash + "/" + idA + "\n":                true,
		"0::/../kubepods-burstable-pod" + uidA_ + ".slice/x.scope\n":           true,
		"9:cpu:/\n8:memory:/kubepods/burstable/pod" + uidA + "/x\n0::/kubelet": true,
	} {
		if got := InPod([]byte(cgroups)); got != want {
			t.Errorf("%q: %v", cgroups, got)
		}
	}
}
