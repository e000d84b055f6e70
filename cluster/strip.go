package cluster

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
)

// strip removes the fields of watched objects that naming does not need. In a cluster of 10,000 pods this saves tens of
// MB.
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		return targets.StripPod(o), nil
	case *corev1.Service:
		return &corev1.Service{
			ObjectMeta: targets.StripMeta(&o.ObjectMeta),
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
		meta := targets.StripMeta(&o.ObjectMeta)
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

func stripNode(o *corev1.Node) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: targets.StripMeta(&o.ObjectMeta),
		Spec:       corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: o.Status.Addresses, NodeInfo: o.Status.NodeInfo},
	}
	// What tells whether a tracer can run there: launch.NodeProblems.
	n.Labels, n.Spec.Taints = o.Labels, o.Spec.Taints
	for _, key := range tunnelAnnotations {
		if value := o.Annotations[key]; value != "" {
			if n.Annotations == nil {
				n.Annotations = map[string]string{}
			}
			n.Annotations[key] = value
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable || c.Type == corev1.NodeReady {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status,
				Reason: c.Reason, Message: c.Message})
		}
	}
	return n
}
