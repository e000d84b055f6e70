package policy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// verdict is what a set of policies does with connections.
type verdict uint8

const (
	// passes: no policy selects the pod for the direction.
	passes verdict = iota
	allowed
	dropped
	// unsure: whether a rule matches depends on what is not known.
	unsure
)

// judge returns what policies do with the connections of a row, at the target's end, and which policies select it.
func (inv *Inventory) judge(policies []*networkingv1.NetworkPolicy, r *row) (verdict, []string) {
	own := inv.of(r.target)
	var selecting []string
	allows, doubt := false, false
	for _, p := range policies {
		if p.Namespace != r.target.Namespace || !isolates(p, r.ingress) {
			continue
		}
		selects := false
		for _, pod := range own {
			selects = selects || matches(&p.Spec.PodSelector, pod.Labels)
		}
		if !selects {
			continue
		}
		selecting = append(selecting, p.Name)
		for _, rule := range rulesOf(p, r.ingress) {
			switch inv.ruleAllows(p.Namespace, rule, r) {
			case allowed:
				allows = true
			case unsure:
				doubt = true
			}
		}
	}
	switch {
	case len(selecting) == 0:
		return passes, nil
	case allows:
		return allowed, selecting
	case doubt, len(own) == 0:
		return unsure, selecting
	}
	return dropped, selecting
}

// direction is a rule of either direction.
type direction struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

func rulesOf(p *networkingv1.NetworkPolicy, ingress bool) (rules []direction) {
	if ingress {
		for _, r := range p.Spec.Ingress {
			rules = append(rules, direction{r.From, r.Ports})
		}
		return rules
	}
	for _, r := range p.Spec.Egress {
		rules = append(rules, direction{r.To, r.Ports})
	}
	return rules
}

// isolates reports whether a policy restricts a direction of the pods that it selects.
func isolates(p *networkingv1.NetworkPolicy, ingress bool) bool {
	if len(p.Spec.PolicyTypes) == 0 { // the API server's default
		return ingress || len(p.Spec.Egress) > 0
	}
	of := networkingv1.PolicyTypeEgress
	if ingress {
		of = networkingv1.PolicyTypeIngress
	}
	return slices.Contains(p.Spec.PolicyTypes, of)
}

func matches(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}

// ruleAllows reports whether a rule allows all connections of a row.
func (inv *Inventory) ruleAllows(namespace string, rule direction, r *row) verdict {
	result := dropped
	if len(rule.peers) == 0 {
		result = allowed
	}
	for i := range rule.peers {
		switch v := inv.peerAllows(namespace, &rule.peers[i], r); {
		case v == allowed:
			result = allowed
		case v == unsure && result == dropped:
			result = unsure
		}
	}
	if result == dropped {
		return dropped
	}
	if v := inv.portsAllow(rule.ports, r); v != allowed {
		return v
	}
	return result
}

func (inv *Inventory) portsAllow(ports []networkingv1.NetworkPolicyPort, r *row) verdict {
	if len(ports) == 0 {
		return allowed
	}
	if r.protocol != event.Protocol_PROTOCOL_TCP && r.protocol != event.Protocol_PROTOCOL_UDP {
		return dropped
	}
	result := dropped
	for _, p := range ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		switch {
		case protocol != protocolOf(r.protocol):
		case p.Port == nil:
			return allowed
		case p.Port.Type == intstr.Int:
			if last := p.EndPort; int32(r.port) == p.Port.IntVal ||
				last != nil && int32(r.port) >= p.Port.IntVal && int32(r.port) <= *last {
				return allowed
			}
		default:
			of := r.peer.ref
			if r.ingress {
				of = r.target
			}
			pods := inv.of(of)
			if len(pods) == 0 {
				result = unsure
			}
			if slices.ContainsFunc(pods, func(pod *corev1.Pod) bool {
				return namedPort(pod, r.port, protocol) == p.Port.StrVal
			}) {
				return allowed
			}
		}
	}
	return result
}

func (inv *Inventory) peerAllows(namespace string, p *networkingv1.NetworkPolicyPeer, r *row) verdict {
	if p.IPBlock != nil {
		v := blockAllows(p.IPBlock, r)
		if v == allowed && r.peer.kind == peerWorkload && !inv.hostNetwork(r.peer.ref) {
			return unsure // network plugins differ in whether a block is also for pods
		}
		return v
	}
	if r.peer.kind != peerWorkload {
		return dropped
	}
	of := r.peer.ref.Namespace
	switch {
	case p.NamespaceSelector == nil && of != namespace:
		return dropped
	case p.NamespaceSelector != nil:
		set := inv.namespaces[of]
		if set == nil {
			set = labels.Set{corev1.LabelMetadataName: of}
		}
		if !matches(p.NamespaceSelector, set) {
			return dropped
		}
	}
	if p.PodSelector == nil {
		return allowed
	}
	pods := inv.of(r.peer.ref)
	if len(pods) == 0 {
		return unsure
	}
	for _, pod := range pods {
		if !matches(p.PodSelector, pod.Labels) || pod.Spec.HostNetwork {
			return dropped
		}
	}
	return allowed
}

func blockAllows(b *networkingv1.IPBlock, r *row) verdict {
	addrs := r.addresses
	if r.peer.addr.IsValid() {
		addrs = []netip.Addr{r.peer.addr}
	}
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil || len(addrs) == 0 {
		return dropped
	}
	for _, a := range addrs {
		if !cidr.Contains(a) || slices.ContainsFunc(b.Except, func(except string) bool {
			x, err := netip.ParsePrefix(except)
			return err == nil && x.Contains(a)
		}) {
			return dropped
		}
	}
	return allowed
}
