// Package podspec holds the parts of a pod that loads BPF programs, which tracers and agents share: privileges, mounts,
// environment and the metadata that keeps injectors away.
package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
)

// CgroupMount is the path of the host's cgroups in the container, and cgroupVolume the name of their volume.
const (
	CgroupMount  = "/host/cgroup"
	cgroupVolume = "cgroup"
)

// Privileges select what a container that loads BPF programs is granted.
type Privileges struct {
	// Privileged runs the container privileged, for platforms where capabilities are not enough.
	Privileged bool
	// Kernel is the release of the node's kernel, or of the oldest node's; empty: a current one.
	Kernel string
	// GPU: the container reads GPUs.
	GPU bool
}

// SecurityContext returns the security context of the container.
func (p Privileges) SecurityContext() *corev1.SecurityContext {
	sc := &corev1.SecurityContext{
		ReadOnlyRootFilesystem: new(true),
		SeccompProfile:         &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
		AppArmorProfile:        &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
		SELinuxOptions:         &corev1.SELinuxOptions{Type: "spc_t"},
	}
	if p.Privileged {
		sc.Privileged = new(true)
		return sc
	}
	sc.Privileged = new(false)
	sc.AllowPrivilegeEscalation = new(false)
	sc.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	for _, name := range capabilities.For(p.Kernel, p.GPU) {
		sc.Capabilities.Add = append(sc.Capabilities.Add, corev1.Capability(name))
	}
	return sc
}

// PodSecurityContext returns the security context of the pod.
func PodSecurityContext() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), RunAsNonRoot: new(false),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
	}
}

// Volume returns the volume with the host's cgroups.
func Volume() corev1.Volume {
	return corev1.Volume{
		Name: cgroupVolume,
		VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
			Path: "/sys/fs/cgroup", Type: new(corev1.HostPathDirectory),
		}},
	}
}

// Mount mounts Volume. The mount brings what is mounted below it, as the v2 hierarchy is on a hybrid host: that shall
// be read-only too (Kubernetes 1.33; older ones ignore it). No propagation: it needs host mounts to be shared, and not
// all are.
func Mount() corev1.VolumeMount {
	return corev1.VolumeMount{
		Name: cgroupVolume, MountPath: CgroupMount, ReadOnly: true,
		RecursiveReadOnly: new(corev1.RecursiveReadOnlyIfPossible),
	}
}

// Env returns the environment of the container with a memory limit.
func Env(memory resource.Quantity) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: session.EnvCgroupRoot, Value: CgroupMount},
		FieldEnv(session.EnvNodeName, "spec.nodeName"),
		{Name: "GOMEMLIMIT", Value: GoMemoryLimit(memory)},
	}
}

// FieldEnv returns a variable with the value of a field of the pod.
func FieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name,
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

// GPUEnv returns the environment that selects what NVIDIA's runtime gives to a container that reads GPUs: all devices,
// and of the driver no more than it takes to read them. No other runtime reads it.
func GPUEnv() []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "NVIDIA_VISIBLE_DEVICES", Value: "all"}, {Name: "NVIDIA_DRIVER_CAPABILITIES", Value: "utility"},
	}
}

// GoMemoryLimit returns GOMEMLIMIT for a memory limit, with room for memory outside the Go heap.
func GoMemoryLimit(limit resource.Quantity) string {
	return fmt.Sprintf("%dMiB", session.HeapLimit(limit.Value())>>20)
}
