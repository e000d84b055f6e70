package cluster

import (
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// afterlife is how long the address of a deleted pod still names it: its last flows arrive late.
const afterlife = 30 * time.Second

// names is the index from addresses to what has them.
type names struct {
	now func() time.Time

	mu       sync.RWMutex
	pods     map[netip.Addr]*podName
	podAddrs map[types.UID][]netip.Addr
	// dead are deleted pods in the order of their deletion.
	dead      []*podName
	nodes     map[netip.Addr]string
	nodeAddrs map[string][]netip.Addr
	fronts    map[front]*servicePort
	services  map[types.NamespacedName]*serviceName
	slices    map[types.NamespacedName]*slice
}

type podName struct {
	uid             types.UID
	namespace, name string
	workload, node  string
	addrs           []netip.Addr
	running         bool
	deleted         time.Time
}

// front is an address that a Service answers at. Node ports have no address: they answer at every node's.
type front struct {
	addr  netip.Addr
	port  uint16
	proto corev1.Protocol
}

type serviceName struct {
	fronts []front
	// ports by name: endpoint slices refer to them so.
	ports map[string]*servicePort
	// slices of this service, by their own name.
	slices map[string]*slice
}

type servicePort struct {
	namespace, name, port string
	proto                 corev1.Protocol
	service               *serviceName
}

type slice struct {
	service types.NamespacedName
	// backends by port name.
	backends map[string]map[backend]struct{}
}

type backend struct {
	addr  netip.Addr
	port  uint16
	proto corev1.Protocol
}

func newNames(now func() time.Time) *names {
	return &names{
		now:  now,
		pods: map[netip.Addr]*podName{}, podAddrs: map[types.UID][]netip.Addr{},
		nodes: map[netip.Addr]string{}, nodeAddrs: map[string][]netip.Addr{},
		fronts: map[front]*servicePort{}, services: map[types.NamespacedName]*serviceName{}, slices: map[types.NamespacedName]*slice{},
	}
}

func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func (n *names) applyPod(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bury()
	n.dropPod(pod.UID)
	if pod.Spec.HostNetwork {
		// It shares its node's address with every other such pod: that address names the node.
		return
	}
	p := &podName{
		uid: pod.UID, namespace: pod.Namespace, name: pod.Name,
		workload: workloadOf(pod), node: pod.Spec.NodeName, running: !finished(pod),
	}
	for _, ip := range pod.Status.PodIPs {
		addr, ok := parseAddr(ip.IP)
		if !ok {
			continue
		}
		if holder := n.pods[addr]; holder != nil && holder.running && !p.running {
			// The address of a finished pod was given to a new one.
			continue
		}
		n.pods[addr] = p
		p.addrs = append(p.addrs, addr)
	}
	n.podAddrs[pod.UID] = p.addrs
}

// deletePod keeps the name for its afterlife.
func (n *names) deletePod(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bury()
	for _, addr := range n.podAddrs[uid] {
		if p := n.pods[addr]; p != nil && p.uid == uid {
			p.running = false
			if p.deleted.IsZero() {
				p.deleted = n.now()
				n.dead = append(n.dead, p)
			}
		}
	}
}

// bury forgets the dead whose time is over. n.mu is held.
func (n *names) bury() {
	limit := n.now().Add(-afterlife)
	for len(n.dead) > 0 && n.dead[0].deleted.Before(limit) {
		n.dropPod(n.dead[0].uid)
		n.dead = n.dead[1:]
	}
}

func (n *names) dropPod(uid types.UID) {
	for _, addr := range n.podAddrs[uid] {
		if p := n.pods[addr]; p != nil && p.uid == uid {
			delete(n.pods, addr)
		}
	}
	delete(n.podAddrs, uid)
}

func (n *names) applyNode(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropNode(node.Name)
	for _, a := range node.Status.Addresses {
		if addr, ok := parseAddr(a.Address); ok {
			n.nodes[addr] = node.Name
			n.nodeAddrs[node.Name] = append(n.nodeAddrs[node.Name], addr)
		}
	}
}

func (n *names) deleteNode(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropNode(name)
}

func (n *names) dropNode(name string) {
	for _, addr := range n.nodeAddrs[name] {
		if n.nodes[addr] == name {
			delete(n.nodes, addr)
		}
	}
	delete(n.nodeAddrs, name)
}

func (n *names) service(key types.NamespacedName) *serviceName {
	s := n.services[key]
	if s == nil {
		s = &serviceName{slices: map[string]*slice{}}
		n.services[key] = s
	}
	return s
}

func (n *names) applyService(svc *corev1.Service) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	s := n.service(key)
	n.dropFronts(s)
	s.ports = map[string]*servicePort{}
	var addrs []netip.Addr
	for _, list := range [][]string{svc.Spec.ClusterIPs, svc.Spec.ExternalIPs} {
		for _, ip := range list {
			if addr, ok := parseAddr(ip); ok { // "None" is a headless service's
				addrs = append(addrs, addr)
			}
		}
	}
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		if addr, ok := parseAddr(ingress.IP); ok {
			addrs = append(addrs, addr)
		}
	}
	for _, port := range svc.Spec.Ports {
		proto := port.Protocol
		if proto == "" {
			proto = corev1.ProtocolTCP
		}
		sp := &servicePort{namespace: svc.Namespace, name: svc.Name, port: port.Name, proto: proto, service: s}
		s.ports[port.Name] = sp
		answer := func(f front) {
			s.fronts = append(s.fronts, f)
			n.fronts[f] = sp
		}
		for _, addr := range addrs {
			answer(front{addr, uint16(port.Port), proto})
		}
		if port.NodePort != 0 {
			answer(front{netip.Addr{}, uint16(port.NodePort), proto})
		}
	}
}

func (n *names) deleteService(key types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.services[key]; s != nil {
		n.dropFronts(s)
		s.ports = nil
		if len(s.slices) == 0 {
			delete(n.services, key)
		}
	}
}

func (n *names) dropFronts(s *serviceName) {
	for _, f := range s.fronts {
		if sp := n.fronts[f]; sp != nil && sp.service == s {
			delete(n.fronts, f)
		}
	}
	s.fronts = nil
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
		backends: map[string]map[backend]struct{}{},
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
			set = map[backend]struct{}{}
			sl.backends[name] = set
		}
		for i := range es.Endpoints {
			for _, ip := range es.Endpoints[i].Addresses {
				if addr, ok := parseAddr(ip); ok {
					set[backend{addr, uint16(*port.Port), proto}] = struct{}{}
				}
			}
		}
	}
	n.slices[key] = sl
	n.service(sl.service).slices[es.Name] = sl
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
	delete(n.slices, key)
	if s := n.services[sl.service]; s != nil {
		delete(s.slices, key.Name)
		if len(s.slices) == 0 && s.ports == nil {
			delete(n.services, sl.service)
		}
	}
}

func serviceProtocol(p event.Protocol) corev1.Protocol {
	switch p {
	case event.Protocol_PROTOCOL_TCP:
		return corev1.ProtocolTCP
	case event.Protocol_PROTOCOL_UDP:
		return corev1.ProtocolUDP
	}
	return ""
}

// lookupFront finds the service port that answers at addr:port. n.mu is held.
func (n *names) lookupFront(addr netip.Addr, port uint16, proto event.Protocol) *servicePort {
	p := serviceProtocol(proto)
	if sp := n.fronts[front{addr, port, p}]; sp != nil {
		return sp
	}
	if _, isNode := n.nodes[addr]; isNode {
		return n.fronts[front{netip.Addr{}, port, p}]
	}
	return nil
}
