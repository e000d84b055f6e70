package cluster

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// strip removes the fields of watched objects that naming does not need. In a cluster of 10,000 pods this saves tens of
// MB.
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		return stripPod(o), nil
	case *corev1.Service:
		return &corev1.Service{
			ObjectMeta: stripMeta(&o.ObjectMeta),
			Spec: corev1.ServiceSpec{
				ClusterIPs: o.Spec.ClusterIPs, ExternalIPs: o.Spec.ExternalIPs, Ports: o.Spec.Ports, Type: o.Spec.Type,
				InternalTrafficPolicy: o.Spec.InternalTrafficPolicy,
				ExternalTrafficPolicy: o.Spec.ExternalTrafficPolicy,
			},
			Status: corev1.ServiceStatus{LoadBalancer: o.Status.LoadBalancer},
		}, nil
	case *corev1.Node:
		return stripNode(o), nil
	case *discoveryv1.EndpointSlice:
		meta := stripMeta(&o.ObjectMeta)
		meta.Labels = map[string]string{discoveryv1.LabelServiceName: o.Labels[discoveryv1.LabelServiceName]}
		s := &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: o.AddressType, Ports: o.Ports}
		for i := range o.Endpoints {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: o.Endpoints[i].Addresses, Conditions: o.Endpoints[i].Conditions,
			})
		}
		return s, nil
	}
	return obj, nil
}

func stripMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion}
}

func stripNode(o *corev1.Node) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: stripMeta(&o.ObjectMeta),
		Spec:       corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
	}
	for _, key := range tunnelAnnotations {
		if value := o.Annotations[key]; value != "" {
			if n.Annotations == nil {
				n.Annotations = map[string]string{}
			}
			n.Annotations[key] = value
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c.Type, Reason: c.Reason})
		}
	}
	return n
}

func stripPod(o *corev1.Pod) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: stripMeta(&o.ObjectMeta)}
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
