package cluster

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/collect"
)

// Name implements collect.Namer.
func (c *Cluster) Name(addr netip.Addr, port uint16, proto event.Protocol) collect.Name {
	c.names.mu.RLock()
	defer c.names.mu.RUnlock()
	addr = addr.Unmap().WithZone("")
	var name collect.Name
	if sp := c.names.lookupFront(addr, port, proto); sp != nil {
		name.Service, name.ServiceNamespace = sp.name, sp.namespace
		only, several := c.names.onlyBackend(sp)
		if only != nil {
			name.Namespace, name.Pod, name.PodUID, name.Workload = only.namespace, only.name, string(only.uid), only.workload
			name.Node = only.node
		}
		name.Observed = several && c.observesAnyBackend(sp) || only != nil && c.targets.observesPod(string(only.uid))
		return name
	}
	if p := c.names.pods[addr]; p != nil {
		return collect.Name{
			Namespace: p.namespace, Pod: p.name, PodUID: string(p.uid), Workload: p.workload, Node: p.node,
			Observed: c.targets.observesPod(string(p.uid)),
		}
	}
	if node, ok := c.names.nodes[addr]; ok {
		name.Node = node
		name.Observed = c.targets.observesHost(node)
	}
	return name
}

// Backs implements collect.Namer.
func (c *Cluster) Backs(vip, endpoint netip.AddrPort, proto event.Protocol) bool {
	c.names.mu.RLock()
	defer c.names.mu.RUnlock()
	sp := c.names.lookupFront(vip.Addr().Unmap().WithZone(""), vip.Port(), proto)
	if sp == nil {
		return false
	}
	want := backend{endpoint.Addr().Unmap().WithZone(""), endpoint.Port(), sp.proto}
	for _, sl := range sp.service.slices {
		if _, ok := sl.backends[sp.port][want]; ok {
			return true
		}
	}
	return false
}

// OwnNetwork implements collect.Networks. Pods on their node's network have no addresses here.
func (c *Cluster) OwnNetwork(podUID string) bool {
	c.names.mu.RLock()
	defer c.names.mu.RUnlock()
	return len(c.names.podAddrs[types.UID(podUID)]) > 0
}

// onlyBackend returns the pod behind a service port where there is exactly one backend, and whether there are several. A
// backend without a pod of its own address (host network, outside the cluster) has no name here.
func (n *names) onlyBackend(sp *servicePort) (only *podName, several bool) {
	found := 0
	var addr netip.Addr
	for _, sl := range sp.service.slices {
		for b := range sl.backends[sp.port] {
			if b.proto != sp.proto {
				continue
			}
			if pod := n.pods[b.addr]; found > 0 && pod != nil && pod == n.pods[addr] {
				continue // the other address family of the same pod
			}
			found++
			addr = b.addr
		}
	}
	if found == 1 {
		if pod := n.pods[addr]; pod != nil {
			return pod, false
		}
	}
	return nil, found > 0
}

func (c *Cluster) observesAnyBackend(sp *servicePort) bool {
	for _, sl := range sp.service.slices {
		for b := range sl.backends[sp.port] {
			if pod := c.names.pods[b.addr]; pod != nil && c.targets.observesPod(string(pod.uid)) {
				return true
			}
			if node, ok := c.names.nodes[b.addr]; ok && c.targets.observesHost(node) {
				return true
			}
		}
	}
	return false
}
