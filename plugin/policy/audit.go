package policy

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds of findings.
const (
	// FindingDrops: policies would drop observed traffic.
	FindingDrops = "would-drop"
	// FindingUnused: a policy allows what was not seen.
	FindingUnused = "never-seen"
	// FindingOpen: no policy selects a workload for a direction.
	FindingOpen = "not-isolated"
	// FindingUnsure: whether policies allow observed traffic depends on what is not known.
	FindingUnsure = "not-known"
	// FindingStops: an attempt came to nothing, and policies drop it.
	FindingStops = "drops-failed"
)

// Finding is a difference between policies and observed traffic.
type Finding struct {
	Type      string `json:"type"`
	Namespace string `json:"namespace"`
	// Workload is empty for what a policy allows.
	Workload  string `json:"workload,omitempty"`
	Direction string `json:"direction"`
	// Connection was observed, or is allowed.
	Connection string   `json:"connection"`
	Evidence   string   `json:"evidence,omitempty"`
	Policies   []string `json:"policies,omitempty"`
}

// Audit compares policies with observed traffic: what of it they would drop, and what else they allow.
func Audit(seen *Seen, inv *Inventory, policies []*networkingv1.NetworkPolicy) (found []Finding) {
	by := seen.byTarget(inv)
	used := map[string]bool{}
	for _, ref := range sortedRefs(seen.targets) {
		if inv.hostNetwork(ref) {
			continue
		}
		open := map[bool]bool{}
		for _, r := range by[ref] {
			if r.peer.kind == peerOwnNode {
				continue // Kubernetes allows it always
			}
			f := Finding{Namespace: ref.Namespace, Workload: ref.Name, Direction: directionName(r.ingress),
				Connection: clean(r.describe()), Evidence: r.evidence()}
			v, by := inv.judge(policies, r)
			f.Policies = by
			switch {
			case v == passes:
				open[r.ingress] = true
				continue
			case v == allowed:
				inv.markUsed(used, policies, r)
				continue
			case r.established == 0 && v == dropped:
				f.Type, f.Evidence = FindingStops, r.outcome()
			case r.established == 0:
				continue
			case v == dropped:
				f.Type = FindingDrops
			default:
				f.Type = FindingUnsure
			}
			found = append(found, f)
		}
		for _, ingress := range []bool{true, false} {
			if open[ingress] {
				found = append(found, Finding{Type: FindingOpen, Namespace: ref.Namespace, Workload: ref.Name,
					Direction: directionName(ingress), Connection: "everything"})
			}
		}
	}
	found = append(found, inv.unused(seen, used, policies)...)
	slices.SortStableFunc(found, func(a, b Finding) int { return order(a.Type) - order(b.Type) })
	return found
}

// order is that of findings: the worst first.
func order(kind string) int {
	return slices.Index([]string{FindingDrops, FindingUnsure, FindingStops, FindingUnused, FindingOpen}, kind)
}

func directionName(ingress bool) string {
	if ingress {
		return "ingress"
	}
	return "egress"
}

// ruleKey names a part of a policy: a peer and a port of a rule.
func ruleKey(p *networkingv1.NetworkPolicy, ingress bool, rule, peer, port int) string {
	return fmt.Sprint(p.Namespace, "/", p.Name, ingress, rule, "/", peer, "/", port)
}

// eachPart calls f for each pair of a peer and a port that a policy allows. An empty list is one that means all.
func eachPart(p *networkingv1.NetworkPolicy, ingress bool, f func(key string, one direction)) {
	for i, rule := range rulesOf(p, ingress) {
		for j := range max(len(rule.peers), 1) {
			for k := range max(len(rule.ports), 1) {
				one := direction{}
				if len(rule.peers) > 0 {
					one.peers = rule.peers[j : j+1]
				}
				if len(rule.ports) > 0 {
					one.ports = rule.ports[k : k+1]
				}
				f(ruleKey(p, ingress, i, j, k), one)
			}
		}
	}
}

// markUsed marks what of the policies allows a row.
func (inv *Inventory) markUsed(used map[string]bool, policies []*networkingv1.NetworkPolicy, r *row) {
	for _, p := range policies {
		if p.Namespace != r.target.Namespace || !isolates(p, r.ingress) || !inv.selects(p, r.target) {
			continue
		}
		eachPart(p, r.ingress, func(key string, one direction) {
			if !used[key] && inv.ruleAllows(p.Namespace, one, r) == allowed {
				used[key] = true
			}
		})
	}
}

func (inv *Inventory) selects(p *networkingv1.NetworkPolicy, ref Ref) bool {
	for _, pod := range inv.of(ref) {
		if matches(&p.Spec.PodSelector, pod.Labels) {
			return true
		}
	}
	return false
}

// unused returns what policies that select observed workloads allow, and what was not seen.
func (inv *Inventory) unused(
	seen *Seen, used map[string]bool, policies []*networkingv1.NetworkPolicy,
) (found []Finding) {
	for _, p := range policies {
		observed := false
		for ref := range seen.targets {
			observed = observed || ref.Namespace == p.Namespace && inv.selects(p, ref)
		}
		if !observed {
			continue
		}
		for _, ingress := range []bool{true, false} {
			if !isolates(p, ingress) {
				continue
			}
			eachPart(p, ingress, func(key string, one direction) {
				if !used[key] {
					found = append(found, Finding{Type: FindingUnused, Namespace: p.Namespace,
						Direction: directionName(ingress), Connection: clean(one.describe(ingress)),
						Policies: []string{p.Name}})
				}
			})
		}
	}
	return found
}

// describe says what a part of a policy allows.
func (d *direction) describe(ingress bool) string {
	who := "anything"
	if len(d.peers) > 0 {
		who = describePeer(&d.peers[0])
	}
	port := "any port"
	if len(d.ports) > 0 {
		p := &d.ports[0]
		protocol := "TCP"
		if p.Protocol != nil {
			protocol = string(*p.Protocol)
		}
		port = strings.ToLower(protocol) + " any port"
		if p.Port != nil {
			port = strings.ToLower(protocol) + " port " + p.Port.String()
		}
		if p.EndPort != nil {
			port += fmt.Sprintf("-%d", *p.EndPort)
		}
	}
	if ingress {
		return "from " + who + " to " + port
	}
	return "to " + who + " " + port
}

func describePeer(p *networkingv1.NetworkPolicyPeer) string {
	if p.IPBlock != nil {
		return p.IPBlock.CIDR
	}
	var parts []string
	if p.PodSelector != nil {
		parts = append(parts, "pods "+selectorText(p.PodSelector))
	} else {
		parts = append(parts, "pods")
	}
	if p.NamespaceSelector != nil {
		parts = append(parts, "in namespaces "+selectorText(p.NamespaceSelector))
	}
	return strings.Join(parts, " ")
}

func selectorText(s *metav1.LabelSelector) string {
	if text := metav1.FormatLabelSelector(s); text != "" && text != "<none>" {
		return text
	}
	return "(all)"
}
