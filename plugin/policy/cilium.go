package policy

import (
	"slices"
	"strings"
)

// CiliumPolicy is a CiliumNetworkPolicy (cilium.io/v2), as far as advice uses it.
type CiliumPolicy struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   ciliumMetadata `json:"metadata"`
	Spec       ciliumSpec     `json:"spec"`
}

type ciliumMetadata struct {
	Labels    map[string]string `json:"labels"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
}

type ciliumSpec struct {
	EndpointSelector ciliumSelector `json:"endpointSelector"`
	// A rule that selects nothing denies all: without any, Cilium would not enforce the direction.
	Ingress []ciliumRule `json:"ingress"`
	Egress  []ciliumRule `json:"egress"`
}

type ciliumSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type ciliumRule struct {
	FromEndpoints []ciliumSelector `json:"fromEndpoints,omitempty"`
	FromCIDR      []string         `json:"fromCIDR,omitempty"`
	FromEntities  []string         `json:"fromEntities,omitempty"`
	ToEndpoints   []ciliumSelector `json:"toEndpoints,omitempty"`
	ToCIDR        []string         `json:"toCIDR,omitempty"`
	ToEntities    []string         `json:"toEntities,omitempty"`
	ToFQDNs       []ciliumName     `json:"toFQDNs,omitempty"`
	ToPorts       []ciliumPorts    `json:"toPorts,omitempty"`
}

type ciliumName struct {
	MatchName    string `json:"matchName,omitempty"`
	MatchPattern string `json:"matchPattern,omitempty"`
}

type ciliumPorts struct {
	Ports []ciliumPort `json:"ports"`
	Rules *ciliumDNS   `json:"rules,omitempty"`
}

type ciliumPort struct {
	Port     string `json:"port"`
	Protocol string `json:"protocol"`
}

type ciliumDNS struct {
	DNS []ciliumName `json:"dns"`
}

// namespaceLabel is how Cilium names the namespace of a pod.
const namespaceLabel = "k8s:io.kubernetes.pod.namespace"

// Cilium returns the policy for Cilium, with the names that DNS gave for addresses outside the cluster. The rules of
// the policy are split where names and addresses differ: the second result has them in the order of the object.
func (p *Policy) Cilium() (*CiliumPolicy, *Policy) {
	o := &CiliumPolicy{APIVersion: "cilium.io/v2", Kind: "CiliumNetworkPolicy",
		Metadata: ciliumMetadata{Name: p.Name, Namespace: p.Ref.Namespace,
			Labels: map[string]string{AdviceLabel: "networkpolicy"}},
		Spec: ciliumSpec{EndpointSelector: ciliumSelector{p.Labels}}}
	split := *p
	split.Ingress, split.Egress = nil, nil
	for _, r := range p.Ingress {
		for _, one := range r.splitBlocks(false) {
			o.Spec.Ingress = append(o.Spec.Ingress, one.cilium(p.Ref.Namespace, true))
			split.Ingress = append(split.Ingress, one)
		}
	}
	for _, r := range p.Egress {
		for _, one := range r.splitBlocks(true) {
			o.Spec.Egress = append(o.Spec.Egress, one.cilium(p.Ref.Namespace, false))
			split.Egress = append(split.Egress, one)
		}
	}
	if len(o.Spec.Ingress) == 0 {
		o.Spec.Ingress = []ciliumRule{{}}
	}
	if len(o.Spec.Egress) == 0 {
		o.Spec.Egress = []ciliumRule{{}}
	}
	return o, &split
}

// splitBlocks separates nodes, names and addresses, which Cilium has different rules for.
func (r *Rule) splitBlocks(names bool) []Rule {
	if r.Labels != nil {
		return []Rule{*r}
	}
	var parts [3]Rule
	for i, b := range r.Blocks {
		at := 2
		switch {
		case b.Node != "":
			at = 0
		case names && len(b.Names) > 0:
			at = 1
		}
		parts[at].Ports = r.Ports
		parts[at].Blocks = append(parts[at].Blocks, b)
		if i < len(r.Evidence) {
			parts[at].Evidence = append(parts[at].Evidence, r.Evidence[i])
		}
	}
	return slices.DeleteFunc(parts[:], func(r Rule) bool { return len(r.Blocks) == 0 })
}

func (r *Rule) cilium(own string, ingress bool) (c ciliumRule) {
	var endpoints []ciliumSelector
	var blocks, entities []string
	switch {
	case r.Labels != nil:
		set := map[string]string{}
		for k, v := range r.Labels {
			set[k] = v
		}
		if r.Namespace != own {
			set[namespaceLabel] = r.Namespace
		}
		endpoints = []ciliumSelector{{set}}
	case r.Blocks[0].Node != "":
		// The API server may be on a node: Cilium gives it an entity of its own.
		entities = []string{"host", "remote-node", "kube-apiserver"}
	case !ingress && len(r.Blocks[0].Names) > 0:
		for _, b := range r.Blocks {
			for _, name := range b.Names {
				if n := (ciliumName{MatchName: strings.ToLower(name)}); !slices.Contains(c.ToFQDNs, n) {
					c.ToFQDNs = append(c.ToFQDNs, n)
				}
			}
		}
	default:
		for _, b := range r.Blocks {
			blocks = append(blocks, b.Prefix.String())
		}
	}
	if ingress {
		c.FromEndpoints, c.FromCIDR, c.FromEntities = endpoints, blocks, entities
	} else {
		c.ToEndpoints, c.ToCIDR, c.ToEntities = endpoints, blocks, entities
	}
	ports := ciliumPorts{}
	for _, p := range r.Ports {
		ports.Ports = append(ports.Ports, ciliumPort{p.Port.String(), string(p.Protocol)})
	}
	if r.dns {
		// toFQDNs knows the addresses from the answers that Cilium's proxy sees.
		ports.Rules = &ciliumDNS{DNS: []ciliumName{{MatchPattern: "*"}}}
	}
	c.ToPorts = []ciliumPorts{ports}
	return c
}
