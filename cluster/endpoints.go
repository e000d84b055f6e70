package cluster

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// endpointState is when kube-proxy forwards connections to an endpoint. It prefers higher states.
type endpointState uint8

const (
	// unusable: never.
	unusable endpointState = iota
	// draining: while no endpoint of the port is ready. The endpoint terminates, but still serves.
	draining
	// ready: always.
	ready
)

type slice struct {
	service types.NamespacedName
	// backends by port name.
	backends map[string]map[backend]endpointState
}

type backend struct {
	addr  netip.Addr
	port  uint16
	proto corev1.Protocol
}

// stateOf reads the conditions of an endpoint as kube-proxy does. The addresses of a Service with
// publishNotReadyAddresses are already ready in the slice: its controller sets the condition.
func stateOf(c *discoveryv1.EndpointConditions) endpointState {
	is := func(condition *bool, byDefault bool) bool {
		if condition == nil {
			return byDefault
		}
		return *condition
	}
	switch {
	case is(c.Ready, true):
		return ready
	case is(c.Serving, true) && is(c.Terminating, false):
		return draining
	}
	return unusable
}

func (n *names) applySlice(es *discoveryv1.EndpointSlice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := types.NamespacedName{Namespace: es.Namespace, Name: es.Name}
	n.dropSlice(key)
	owner := es.Labels[discoveryv1.LabelServiceName]
	if owner == "" {
		return
	}
	sl := &slice{
		service:  types.NamespacedName{Namespace: es.Namespace, Name: owner},
		backends: map[string]map[backend]endpointState{},
	}
	for _, port := range es.Ports {
		if port.Port == nil {
			continue
		}
		proto, name := corev1.ProtocolTCP, ""
		if port.Protocol != nil {
			proto = *port.Protocol
		}
		if port.Name != nil {
			name = *port.Name
		}
		set := sl.backends[name]
		if set == nil {
			set = map[backend]endpointState{}
			sl.backends[name] = set
		}
		for i := range es.Endpoints {
			state := stateOf(&es.Endpoints[i].Conditions)
			for _, ip := range es.Endpoints[i].Addresses {
				if addr, ok := parseAddr(ip); ok {
					b := backend{addr, uint16(*port.Port), proto}
					set[b] = max(set[b], state)
				}
			}
		}
	}
	n.slices[key] = sl
	n.service(sl.service).slices[es.Name] = sl
	n.indexBackends(sl, true)
}

func (n *names) deleteSlice(key types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropSlice(key)
}

func (n *names) dropSlice(key types.NamespacedName) {
	sl := n.slices[key]
	if sl == nil {
		return
	}
	n.indexBackends(sl, false)
	delete(n.slices, key)
	if s := n.services[sl.service]; s != nil {
		delete(s.slices, key.Name)
		if len(s.slices) == 0 && s.ports == nil {
			delete(n.services, sl.service)
		}
	}
}

// usable returns the backends to which kube-proxy forwards a connection to addr: the ready endpoints of the address
// family, or without any of those the draining ones. n.mu is held.
func (n *names) usable(sp *servicePort, addr netip.Addr) []backend {
	best := draining
	states := map[backend]endpointState{} // an endpoint may move from one slice to another, and be in both meanwhile
	for _, sl := range sp.service.slices {
		for b, state := range sl.backends[sp.port] {
			if b.proto == sp.proto && b.addr.Is4() == addr.Is4() && state != unusable {
				states[b] = max(states[b], state)
				best = max(best, state)
			}
		}
	}
	var out []backend
	for b, state := range states {
		if state == best {
			out = append(out, b)
		}
	}
	return out
}

// onlyBackend returns the only pod to which a connection to addr can be forwarded. It returns nil for several backends,
// for none, and for one without an address of its own (host network, outside the cluster). n.mu is held.
func (n *names) onlyBackend(sp *servicePort, addr netip.Addr) *podName {
	usable := n.usable(sp, addr)
	if len(usable) != 1 {
		return nil
	}
	pod := n.pods[usable[0].addr]
	if pod == nil {
		return nil
	}
	if node, nodePort := n.nodes.own[addr]; nodePort {
		if sp.service.externalLocal && node != pod.node {
			return nil
		}
	} else if sp.service.internalLocal {
		// Only clients on the pod's node reach it, and the client is unknown here.
		return nil
	}
	return pod
}
