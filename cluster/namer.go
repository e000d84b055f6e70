package cluster

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// observer decides which ends are observed.
type observer interface {
	// ObservesPod reports whether the pod is a target.
	ObservesPod(uid string) bool
	// ObservesHost reports whether a target is in the network of the node itself.
	ObservesHost(node string) bool
}

// Name implements collect.Namer.
func (c *Cluster) Name(addr netip.Addr, port uint16, proto event.Protocol) collect.Name {
	return c.name(c.targets, addr, port, proto, time.Time{})
}

// name names an address as it was at a time; zero: now.
func (c *Cluster) name(
	o observer, addr netip.Addr, port uint16, proto event.Protocol, at time.Time,
) collect.Name {
	c.names.mu.RLock()
	defer c.names.mu.RUnlock()
	addr = addr.Unmap().WithZone("")
	var name collect.Name
	if sp := c.names.lookupFront(addr, port, proto); sp != nil {
		name.Service, name.ServiceNamespace = sp.name, sp.namespace
		if only := c.names.onlyBackend(sp, addr); only != nil {
			name.Namespace, name.Pod, name.PodUID, name.Workload = only.namespace, only.name, string(only.uid),
				only.workload
			name.Node = only.node
		}
		// An unready backend counts too: it may have become unready after the connection was made.
		name.Observed = c.observesAnyBackend(o, sp)
		return name
	}
	p := c.names.pods[addr]
	if !at.IsZero() {
		p = c.names.past.find(addr, at, p)
	}
	if p != nil {
		return collect.Name{
			Namespace: p.namespace, Pod: p.name, PodUID: string(p.uid), Workload: p.workload, Node: p.node,
			Observed: o.ObservesPod(string(p.uid)),
			Hint:     c.names.infer(backend{addr, port, serviceProtocol(proto)}),
		}
	}
	if node := c.names.nodes.lookup(addr); node != "" {
		name.Node = node
		name.Observed = o.ObservesHost(node)
		name.Hint = c.names.infer(backend{addr, port, serviceProtocol(proto)})
		return name
	}
	if s := c.names.clusterIPs[addr]; s != nil {
		name.Hint = &collect.ServiceHint{
			Service: s.key.Name, Namespace: s.key.Namespace, Port: port,
			Note: event.ServiceNote_SERVICE_NOTE_NO_SUCH_PORT,
		}
		if serviceProtocol(proto) == "" {
			name.Hint.Port, name.Hint.Note = 0, event.ServiceNote_SERVICE_NOTE_NONE // ICMP has no ports
		}
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

// observesAnyBackend reports whether a pod behind the Service's port is a target, ready or not.
func (c *Cluster) observesAnyBackend(o observer, sp *servicePort) bool {
	for _, sl := range sp.service.slices {
		for b := range sl.backends[sp.port] {
			if pod := c.names.pods[b.addr]; pod != nil && o.ObservesPod(string(pod.uid)) {
				return true
			}
			if node, ok := c.names.nodes.own[b.addr]; ok && o.ObservesHost(node) {
				return true
			}
		}
	}
	return false
}
