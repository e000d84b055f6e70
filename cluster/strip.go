package cluster

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
)

// stripNode removes what neither names nor launch.NodeProblems need: the nodes are kept.
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
