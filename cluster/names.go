package cluster

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// afterlife is how long the address of a deleted pod still names it: its last flows arrive late.
const afterlife = 30 * time.Second

// names is the index from addresses to pods, Services and nodes.
type names struct {
	now func() time.Time

	mu       sync.RWMutex
	pods     map[netip.Addr]*podName
	podAddrs map[types.UID][]netip.Addr
	// deletedPods are deleted pods in the order of their deletion.
	deletedPods []*podName
	past        pastPods
	nodes       nodeNames
	fronts      map[front]*servicePort
	services    map[types.NamespacedName]*serviceName
	// clusterIPs are the addresses at which only the ports of the Service answer.
	clusterIPs map[netip.Addr]*serviceName
	owners     map[backend][]backendOwner
	// cilium holds the evidence that the network plugin is Cilium: UIDs of its pods, names of nodes that run it.
	cilium map[string]struct{}
	slices map[types.NamespacedName]*slice
}

type podName struct {
	uid             types.UID
	namespace, name string
	workload, node  string
	addrs           []netip.Addr
	running         bool
	deleted         time.Time
	// since is when the pod began, until when it lost its addresses; zero: it has them.
	since, until time.Time
}

// front is an address that a Service answers at. Node ports have no address: they answer at every node's.
type front struct {
	addr  netip.Addr
	port  uint16
	proto corev1.Protocol
}

type serviceName struct {
	key        types.NamespacedName
	clusterIPs []netip.Addr
	fronts     []front
	// ports by name: endpoint slices refer to them so.
	ports map[string]*servicePort
	// slices of this service, by their own name.
	slices map[string]*slice
	// internalLocal and externalLocal: a cluster IP, or a node port, forwards connections to its own node only.
	internalLocal, externalLocal bool
}

type servicePort struct {
	namespace, name, port string
	number                uint16
	proto                 corev1.Protocol
	service               *serviceName
}

func newNames(now func() time.Time) *names {
	return &names{
		now:  now,
		pods: map[netip.Addr]*podName{}, podAddrs: map[types.UID][]netip.Addr{},
		nodes: newNodeNames(), past: newPastPods(),
		fronts: map[front]*servicePort{}, services: map[types.NamespacedName]*serviceName{},
		slices: map[types.NamespacedName]*slice{}, clusterIPs: map[netip.Addr]*serviceName{},
		owners: map[backend][]backendOwner{}, cilium: map[string]struct{}{},
	}
}

func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func (n *names) applyPod(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropExpired()
	before := n.dropPod(pod.UID)
	if isCiliumAgent(pod) {
		n.cilium[string(pod.UID)] = struct{}{}
	}
	if pod.Spec.HostNetwork {
		// It shares its node's address with every other such pod: that address names the node.
		return
	}
	p := &podName{
		uid: pod.UID, namespace: pod.Namespace, name: pod.Name,
		workload: targets.Workload(pod), node: pod.Spec.NodeName, running: !targets.Finished(pod),
	}
	if pod.Status.StartTime != nil {
		p.since = pod.Status.StartTime.Time
	}
	if before != nil {
		p.until = before.until // it has lost its address to another pod
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
		if holder := n.pods[addr]; holder != nil {
			n.past.end(holder, n.now())
		}
		n.pods[addr] = p
		p.addrs = append(p.addrs, addr)
	}
	n.podAddrs[pod.UID] = p.addrs
}

// deletePod marks a pod as deleted. Its name stays for afterlife.
func (n *names) deletePod(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropExpired()
	delete(n.cilium, string(uid))
	for _, addr := range n.podAddrs[uid] {
		if p := n.pods[addr]; p != nil && p.uid == uid {
			p.running = false
			if p.deleted.IsZero() {
				p.deleted = n.now()
				n.past.end(p, p.deleted)
				n.deletedPods = append(n.deletedPods, p)
			}
		}
	}
}

// dropExpired removes the pods that were deleted more than afterlife ago. n.mu is held.
func (n *names) dropExpired() {
	limit := n.now().Add(-afterlife)
	for len(n.deletedPods) > 0 && n.deletedPods[0].deleted.Before(limit) {
		n.dropPod(n.deletedPods[0].uid)
		n.deletedPods = n.deletedPods[1:]
	}
}

// dropPod removes a pod, and returns what it was.
func (n *names) dropPod(uid types.UID) (before *podName) {
	for _, addr := range n.podAddrs[uid] {
		if p := n.pods[addr]; p != nil && p.uid == uid {
			before = p
			delete(n.pods, addr)
		}
	}
	delete(n.podAddrs, uid)
	return before
}

func (n *names) service(key types.NamespacedName) *serviceName {
	s := n.services[key]
	if s == nil {
		s = &serviceName{key: key, slices: map[string]*slice{}}
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
	s.internalLocal = svc.Spec.InternalTrafficPolicy != nil &&
		*svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	s.externalLocal = svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	var addrs []netip.Addr
	for _, ip := range svc.Spec.ClusterIPs {
		if addr, ok := parseAddr(ip); ok { // "None" is a headless service's
			addrs = append(addrs, addr)
			n.clusterIPs[addr] = s
		}
	}
	s.clusterIPs = slices.Clone(addrs)
	for _, ip := range svc.Spec.ExternalIPs {
		if addr, ok := parseAddr(ip); ok {
			addrs = append(addrs, addr)
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
		sp := &servicePort{
			namespace: svc.Namespace, name: svc.Name, port: port.Name, number: uint16(port.Port), proto: proto,
			service: s,
		}
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
	for _, addr := range s.clusterIPs {
		if n.clusterIPs[addr] == s {
			delete(n.clusterIPs, addr)
		}
	}
	s.clusterIPs = nil
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
	if _, isNode := n.nodes.own[addr]; isNode {
		return n.fronts[front{netip.Addr{}, port, p}]
	}
	return nil
}
