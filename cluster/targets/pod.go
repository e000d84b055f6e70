package targets

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// configHash annotates a static pod with the UID in its cgroup's name. Its mirror in the API has another UID.
const configHash = "kubernetes.io/config.hash"

// Describe returns the pod's names, addresses and containers, with which a tracer names its events.
func Describe(pod *corev1.Pod, container string) *session.Pod {
	p := &session.Pod{
		Uid:       string(pod.UID),
		Namespace: pod.Namespace,
		Name:      pod.Name,
		Workload:  Workload(pod),
		Target:    true,
	}
	if hash := pod.Annotations[configHash]; hash != "" && hash != p.Uid {
		p.ConfigHash = hash
	}
	if !pod.Spec.HostNetwork {
		for _, ip := range pod.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				p.Addresses = append(p.Addresses, a.AsSlice())
			}
		}
	}
	for _, c := range pod.Spec.InitContainers {
		p.Containers = appendContainer(p.Containers, c.Name, container, pod.Status.InitContainerStatuses)
	}
	for _, c := range pod.Spec.Containers {
		p.Containers = appendContainer(p.Containers, c.Name, container, pod.Status.ContainerStatuses)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		p.Containers = appendContainer(p.Containers, c.Name, container, pod.Status.EphemeralContainerStatuses)
	}
	return p
}

// appendContainer adds a container under its present id and, once it was restarted, under the one before, whose last
// events may still be under way.
func appendContainer(
	to []*session.Container, name, wanted string, statuses []corev1.ContainerStatus,
) []*session.Container {
	add := func(id string) {
		to = append(to, &session.Container{Name: name, Id: bareID(id), Target: wanted == "" || wanted == name})
	}
	for i := range statuses {
		s := &statuses[i]
		if s.Name != name {
			continue
		}
		if last := s.LastTerminationState.Terminated; last != nil && last.ContainerID != "" &&
			last.ContainerID != s.ContainerID {
			add(last.ContainerID)
		}
		add(s.ContainerID)
		return to
	}
	add("")
	return to
}

// bareID removes the runtime's name from a container id: "containerd://4f…" becomes "4f…".
func bareID(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}

// Workload returns the controller of a pod in kubectl's short form: "deploy/web", not the ReplicaSet between. It is
// empty for a bare pod.
func Workload(pod *corev1.Pod) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return ""
	}
	switch owner.Kind {
	case "ReplicaSet":
		// A Deployment names its ReplicaSets NAME-HASH and puts the hash on their pods.
		if hash := pod.Labels["pod-template-hash"]; hash != "" {
			if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
				return "deploy/" + name
			}
		}
		return "rs/" + owner.Name
	case "StatefulSet":
		return "sts/" + owner.Name
	case "DaemonSet":
		return "ds/" + owner.Name
	case "Node":
		// A mirror pod: its owner is the node that runs it, not a controller.
		return ""
	}
	return strings.ToLower(owner.Kind) + "/" + owner.Name
}

// Finished reports whether all containers of a pod have ended for good.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ContainerNames returns the names of all containers of a pod.
func ContainerNames(pod *corev1.Pod) (names []string) {
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	return names
}
