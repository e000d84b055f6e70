package cluster

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// nodeNames is the index from addresses to nodes.
type nodeNames struct {
	// own are the addresses in the nodes' status. Node ports answer at them.
	own map[netip.Addr]string
	// network are the addresses that a node has in the pod network. A pod that has such an address comes first.
	network map[netip.Addr]string
	addrs   map[string][]netip.Addr
}

func newNodeNames() nodeNames {
	return nodeNames{own: map[netip.Addr]string{}, network: map[netip.Addr]string{}, addrs: map[string][]netip.Addr{}}
}

// tunnelAnnotations are where network plugins publish the addresses of a node in the pod network: those of its tunnel
// devices, and with Cilium that of cilium_host. A value is an address, or an address with the length of its prefix.
var tunnelAnnotations = []string{
	"projectcalico.org/IPv4IPIPTunnelAddr",
	"projectcalico.org/IPv4VXLANTunnelAddr",
	"projectcalico.org/IPv6VXLANTunnelAddr",
	"projectcalico.org/IPv4WireguardInterfaceAddr",
	"projectcalico.org/IPv6WireguardInterfaceAddr",
	"network.cilium.io/ipv4-cilium-host",
	"network.cilium.io/ipv6-cilium-host",
	"io.cilium.network.ipv4-cilium-host",
	"io.cilium.network.ipv6-cilium-host",
}

// networkAddrs are the addresses that the node has in the pod network. Where the network plugin publishes them, these
// are all: such a plugin may divide other ranges than those in the node's spec. Otherwise they are the first two
// addresses of each range: the bridge has the one that ends in 1, a VXLAN device of flannel the one that ends in 0.
func networkAddrs(node *corev1.Node) (addrs []netip.Addr) {
	for _, key := range tunnelAnnotations {
		text, _, _ := strings.Cut(node.Annotations[key], "/")
		if addr, ok := parseAddr(text); ok {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) > 0 {
		return addrs
	}
	ranges := node.Spec.PodCIDRs
	if len(ranges) == 0 && node.Spec.PodCIDR != "" {
		ranges = []string{node.Spec.PodCIDR}
	}
	for _, text := range ranges {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		first := prefix.Masked().Addr()
		for _, addr := range []netip.Addr{first, first.Next()} {
			if prefix.Contains(addr) {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	return addrs
}

func (n *nodeNames) apply(node *corev1.Node) {
	n.drop(node.Name)
	add := func(index map[netip.Addr]string, addr netip.Addr) {
		index[addr] = node.Name
		n.addrs[node.Name] = append(n.addrs[node.Name], addr)
	}
	for _, a := range node.Status.Addresses {
		if addr, ok := parseAddr(a.Address); ok {
			add(n.own, addr)
		}
	}
	for _, addr := range networkAddrs(node) {
		add(n.network, addr)
	}
}

func (n *nodeNames) drop(name string) {
	for _, addr := range n.addrs[name] {
		for _, index := range []map[netip.Addr]string{n.own, n.network} {
			if index[addr] == name {
				delete(index, addr)
			}
		}
	}
	delete(n.addrs, name)
}

// lookup returns the node that has the address. The caller has looked for a pod first.
func (n *nodeNames) lookup(addr netip.Addr) string {
	if node := n.own[addr]; node != "" {
		return node
	}
	return n.network[addr]
}

func (n *names) applyNode(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes.apply(node)
	delete(n.cilium, node.Name)
	if runsCilium(node) {
		n.cilium[node.Name] = struct{}{}
	}
}

func (n *names) deleteNode(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes.drop(name)
	delete(n.cilium, name)
}
