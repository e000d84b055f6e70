package kit

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Enforce enforces the NetworkPolicies of a namespace, as the API server has them, for the pods of now, until the end
// of the test. It is a small enforcer of our own, in nftables at the forward hook of each node (NeedOwn): the test
// cluster's network has none, and those of Kubernetes' projects need kernel modules that the test's kernel may lack
// (nft_queue). It follows the specification: a pod that a policy selects for a direction gets only what a rule allows
// and answers, and its own node, whose packets do not pass the hook, always reaches it.
func (e *Env) Enforce(t testing.TB, namespace string) {
	t.Helper()
	f := &enforcer{pods: map[string][]corev1.Pod{}}
	all, err := e.Client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all.Items {
		if !p.Spec.HostNetwork && p.Status.PodIP != "" {
			f.pods[p.Namespace] = append(f.pods[p.Namespace], p)
		}
	}
	namespaces, err := e.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.namespaces = namespaces.Items
	policies, err := e.Client.NetworkingV1().NetworkPolicies(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range e.Nodes {
		rules := f.node(t, node, namespace, policies.Items)
		network := nodeNetwork(t, node)
		nft := func(input string) {
			cmd := exec.Command("nsenter", "--net="+network, "nft", "-f", "-")
			cmd.Stdin = strings.NewReader(input)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("nft on %s: %v: %s\n%s", node, err, out, input)
			}
		}
		nft(rules)
		t.Cleanup(func() { nft("delete table inet orb8-e2e-policy\n") })
	}
}

// enforcer turns policies into rules of nftables.
type enforcer struct {
	pods       map[string][]corev1.Pod // by namespace
	namespaces []corev1.Namespace
}

// node returns the table of a node: a chain for each pod and direction.
func (f *enforcer) node(t testing.TB, node, namespace string, policies []networkingv1.NetworkPolicy) string {
	t.Helper()
	var jumps, chains strings.Builder
	for i := range f.pods[namespace] {
		pod := &f.pods[namespace][i]
		if pod.Spec.NodeName != node {
			continue
		}
		for _, direction := range []networkingv1.PolicyType{
			networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress,
		} {
			rules, isolated := f.pod(t, pod, direction, policies)
			if !isolated {
				continue
			}
			own := "saddr"
			if direction == networkingv1.PolicyTypeIngress {
				own = "daddr"
			}
			chain := fmt.Sprintf("%s-%d", strings.ToLower(string(direction)), i)
			for _, ip := range pod.Status.PodIPs {
				fmt.Fprintf(&jumps, "  %s %s %s jump %s\n", family(ip.IP), own, ip.IP, chain)
			}
			fmt.Fprintf(&chains, " chain %s {\n%s  drop\n }\n", chain, strings.Join(rules, ""))
		}
	}
	return fmt.Sprintf("table inet orb8-e2e-policy {\n%s chain forward {\n  type filter hook forward priority 0;\n"+
		"  ct state established,related accept\n%s }\n}\n", chains.String(), jumps.String())
}

// family is the word for an address in a rule.
func family(address string) string {
	if strings.Contains(address, ":") {
		return "ip6"
	}
	return "ip"
}

// pod returns what policies allow a pod in a direction, and whether any selects it.
func (f *enforcer) pod(
	t testing.TB, pod *corev1.Pod, direction networkingv1.PolicyType, policies []networkingv1.NetworkPolicy,
) (rules []string, isolated bool) {
	t.Helper()
	for i := range policies {
		p := &policies[i]
		if !slices.Contains(p.Spec.PolicyTypes, direction) || !selects(t, &p.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeEgress {
			for _, r := range p.Spec.Egress {
				rules = append(rules, f.rule(t, p.Namespace, "daddr", r.To, r.Ports, nil)...)
			}
			continue
		}
		for _, r := range p.Spec.Ingress {
			rules = append(rules, f.rule(t, p.Namespace, "saddr", r.From, r.Ports, pod)...)
		}
	}
	return rules, isolated
}

func selects(t testing.TB, s *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(set))
}

// rule returns the rules for peers and ports. Names of ports are those of server, or of the peers where it is nil.
func (f *enforcer) rule(
	t testing.TB, namespace, side string, peers []networkingv1.NetworkPolicyPeer,
	ports []networkingv1.NetworkPolicyPort, server *corev1.Pod,
) (rules []string) {
	t.Helper()
	allow := func(address string, of *corev1.Pod) {
		for _, p := range ports {
			port := p.Port.IntValue()
			if p.Port.Type == intstr.String {
				port = namedPort(of, p.Port.StrVal)
			}
			rules = append(rules, fmt.Sprintf("  %s %s %s %s dport %d return\n", family(address), side, address,
				strings.ToLower(string(*p.Protocol)), port))
		}
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			if _, err := netip.ParsePrefix(peer.IPBlock.CIDR); err != nil {
				t.Fatal(err)
			}
			allow(peer.IPBlock.CIDR, server)
			continue
		}
		for _, ns := range f.namespaces {
			if peer.NamespaceSelector == nil && ns.Name != namespace ||
				peer.NamespaceSelector != nil && !selects(t, peer.NamespaceSelector, ns.Labels) {
				continue
			}
			for i := range f.pods[ns.Name] {
				pod := &f.pods[ns.Name][i]
				if peer.PodSelector != nil && !selects(t, peer.PodSelector, pod.Labels) {
					continue
				}
				of := server
				if of == nil {
					of = pod
				}
				for _, ip := range pod.Status.PodIPs {
					allow(ip.IP, of)
				}
			}
		}
	}
	return rules
}

func namedPort(pod *corev1.Pod, name string) int {
	if pod != nil {
		for _, c := range pod.Spec.Containers {
			for _, p := range c.Ports {
				if p.Name == name {
					return int(p.ContainerPort)
				}
			}
		}
	}
	return 0 // matches nothing
}
