package cluster

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Socket-level load balancing (Cilium without kube-proxy) replaces the address of a Service by that of a backend within
// connect(2) and sendmsg(2). No packet and no socket has the Service's address, so the Service can only be inferred.
// With kube-proxy a connection to a pod's address went to no Service, so nothing is inferred there.

// backendOwner is the port of a Service that an endpoint slice lists a backend for.
type backendOwner struct {
	service types.NamespacedName
	port    string
}

// runsCilium reports whether Cilium is the node's network plugin.
func runsCilium(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Reason == "CiliumIsUp"
	})
}

// isCiliumAgent recognizes the agent by its label, for clusters whose cloud provider sets the condition of the nodes.
func isCiliumAgent(pod *corev1.Pod) bool {
	return pod.Spec.HostNetwork && pod.Labels["k8s-app"] == "cilium"
}

// indexBackends adds the backends of a slice to the index by backend, or removes them. n.mu is held.
func (n *names) indexBackends(sl *slice, add bool) {
	for port, set := range sl.backends {
		owner := backendOwner{sl.service, port}
		for b := range set {
			owners := n.owners[b]
			switch i := slices.Index(owners, owner); {
			case add:
				n.owners[b] = append(owners, owner)
			case i >= 0 && len(owners) == 1:
				delete(n.owners, b)
			case i >= 0:
				n.owners[b] = slices.Delete(owners, i, i+1)
			}
		}
	}
}

// infer returns the Service that a connection to a backend was made to, nil for none: where there is exactly one that
// has the backend, and it has a cluster IP. The port is 0 where several of the Service's ports lead there. n.mu is
// held.
func (n *names) infer(b backend) *collect.ServiceHint {
	owners := n.owners[b]
	if len(n.cilium) == 0 || len(owners) == 0 {
		return nil
	}
	key := owners[0].service
	s := n.services[key]
	if s == nil || len(s.clusterIPs) == 0 {
		return nil
	}
	var port *servicePort
	for i, owner := range owners {
		if owner.service != key {
			return nil
		}
		sp := s.ports[owner.port]
		if i > 0 && sp != port {
			port = nil
			break
		}
		port = sp
	}
	hint := &collect.ServiceHint{
		Service: key.Name, Namespace: key.Namespace, Note: event.ServiceNote_SERVICE_NOTE_INFERRED,
	}
	if port != nil {
		hint.Port = port.number
	}
	return hint
}
