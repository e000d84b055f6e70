package policy

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdviceLabel is on all advised policies, so that they can be listed and deleted together.
const AdviceLabel = "orb8.dev/advise"

// NetworkPolicy returns the policy as an object of Kubernetes.
func (p *Policy) NetworkPolicy() *networkingv1.NetworkPolicy {
	o := &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Ref.Namespace, Name: p.Name,
			Labels: map[string]string{AdviceLabel: "networkpolicy"}},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: p.Labels},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	for i := range p.Ingress {
		o.Spec.Ingress = append(o.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
			From: p.Ingress[i].peers(p.Ref.Namespace), Ports: p.Ingress[i].ports()})
	}
	for i := range p.Egress {
		o.Spec.Egress = append(o.Spec.Egress, networkingv1.NetworkPolicyEgressRule{
			To: p.Egress[i].peers(p.Ref.Namespace), Ports: p.Egress[i].ports()})
	}
	return o
}

func (r *Rule) peers(own string) (peers []networkingv1.NetworkPolicyPeer) {
	if r.Labels != nil {
		p := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: r.Labels}}
		if r.Namespace != own {
			p.NamespaceSelector = &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: r.Namespace}}
		}
		return []networkingv1.NetworkPolicyPeer{p}
	}
	for _, b := range r.Blocks {
		peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: b.Prefix.String()}})
	}
	return peers
}

func (r *Rule) ports() (ports []networkingv1.NetworkPolicyPort) {
	for _, p := range r.Ports {
		protocol, port := p.Protocol, p.Port
		ports = append(ports, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port})
	}
	return ports
}
