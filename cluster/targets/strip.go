package targets

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StripMeta removes the metadata of an object that naming does not need.
func StripMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion}
}

// StripPod removes the fields of a pod that naming does not need.
func StripPod(o *corev1.Pod) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: StripMeta(&o.ObjectMeta)}
	p.Labels = o.Labels
	p.OwnerReferences = o.OwnerReferences
	if hash := o.Annotations[configHash]; hash != "" {
		p.Annotations = map[string]string{configHash: hash}
	}
	p.Spec.NodeName = o.Spec.NodeName
	p.Spec.HostNetwork = o.Spec.HostNetwork
	p.Status.StartTime = o.Status.StartTime
	for i := range o.Spec.InitContainers {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: o.Spec.InitContainers[i].Name})
	}
	for i := range o.Spec.Containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: o.Spec.Containers[i].Name})
	}
	for i := range o.Spec.EphemeralContainers {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: o.Spec.EphemeralContainers[i].Name},
		})
	}
	p.Status.Phase = o.Status.Phase
	p.Status.PodIPs = o.Status.PodIPs
	p.Status.InitContainerStatuses = stripStatuses(o.Status.InitContainerStatuses)
	p.Status.ContainerStatuses = stripStatuses(o.Status.ContainerStatuses)
	p.Status.EphemeralContainerStatuses = stripStatuses(o.Status.EphemeralContainerStatuses)
	return p
}

func stripStatuses(in []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range in {
		s := corev1.ContainerStatus{Name: in[i].Name, ContainerID: in[i].ContainerID}
		if t := in[i].LastTerminationState.Terminated; t != nil {
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: t.ContainerID}
		}
		out = append(out, s)
	}
	return out
}
