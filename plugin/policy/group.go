package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// rules makes the rules of a direction: one for each workload, and one for all addresses with the same ports.
func (a *advisor) rules(p *Policy, rows []*row) []Rule {
	var rules []Rule
	workloads := map[Ref]int{}
	blocks := map[netip.Addr]*Block{}
	ports := map[netip.Addr][]Port{}
	cut, cutPorts := 0, 0
	for _, r := range rows {
		nodes := a.nodeAddresses(r)
		switch {
		case r.peer.kind == peerOwnNode && r.ingress:
			p.Comments = append(p.Comments, clean(fmt.Sprintf("no rule needed: %s: %s; Kubernetes always allows the "+
				"node of a pod, as for the kubelet's probes", r.describe(), r.evidence())))
		case r.peer.kind == peerWorkload && nodes == nil:
			i, has := workloads[r.peer.ref]
			if !has {
				i = len(rules)
				workloads[r.peer.ref] = i
				rules = append(rules, a.peerRule(r))
			}
			rule := &rules[i]
			if len(rule.Ports) >= maxPorts {
				cutPorts++
				continue
			}
			a.addPort(rule, r)
			rule.Evidence = append(rule.Evidence, a.portText(r)+": "+r.evidence())
			if !r.both {
				a.oneSided[r.peer.label()] = true
			}
		default:
			if nodes == nil {
				nodes = []netip.Addr{r.peer.addr}
			}
			for _, addr := range nodes {
				if blocks[addr] == nil {
					if len(blocks) >= maxBlocks {
						cut++
						continue
					}
					blocks[addr] = a.block(r, addr)
				}
				if len(ports[addr]) >= maxPorts {
					cutPorts++
					continue
				}
				blocks[addr].evidence += fmt.Sprintf("; %s: %s", a.portText(r), r.evidence())
				port := Port{protocolOf(r.protocol), intstr.FromInt32(int32(r.port)), r.port}
				if r.ingress {
					port = a.port(r) // its own pods may name it
				}
				ports[addr] = appendPort(ports[addr], port)
			}
		}
	}
	if cut > 0 {
		a.warn("%s: more than %d addresses outside the cluster: %d of their ports are not allowed; allow a range by "+
			"hand", p.Ref, maxBlocks, cut)
	}
	if cutPorts > 0 {
		a.warn("%s: more than %d ports of a peer: %d of them are not allowed; allow a range by hand", p.Ref, maxPorts,
			cutPorts)
	}
	return append(rules, blockRules(blocks, ports)...)
}

// nodeAddresses are those of a peer that is a node, or a pod on the network of its node; nil: it is none.
func (a *advisor) nodeAddresses(r *row) []netip.Addr {
	switch {
	case r.peer.kind == peerNode || r.peer.kind == peerOwnNode:
		return []netip.Addr{r.peer.addr}
	case r.peer.kind != peerWorkload || !a.inv.hostNetwork(r.peer.ref):
		return nil
	}
	addrs := slices.Clone(r.addresses)
	for _, pod := range a.inv.of(r.peer.ref) {
		if addr, err := netip.ParseAddr(pod.Status.HostIP); err == nil && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// block describes an address that becomes an ipBlock.
func (a *advisor) block(r *row, addr netip.Addr) *Block {
	b := &Block{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Names: a.seen.names[addr]}
	switch r.peer.kind {
	case peerNode, peerOwnNode:
		b.Node = r.peer.name
	case peerWorkload:
		b.Node = "of " + r.peer.label()
	}
	switch target := r.target; {
	case b.Node != "":
		a.warn("%s: %s is a node, or a pod on its network (hostNetwork): a policy can only name its address, %s, "+
			"which changes with the node", target, r.peer.label(), addr)
	case addr.IsLinkLocalUnicast():
		a.warn("%s: %s is local to the node, as for a DNS cache or a cloud's metadata: not every network plugin lets "+
			"a policy allow it", target, addr)
	case len(b.Names) > 0 && !r.ingress:
		a.warn("%s: %s is an address of %s now: a NetworkPolicy cannot name it, and breaks when the name moves "+
			"(--format=cilium can)", target, addr, listed(b.Names))
	case r.ingress && len(a.inv.pods) == 0, r.ingress && addr.IsPrivate():
		a.warn("%s: clients at %s: what comes through a load balancer may have the address of a node or of the load "+
			"balancer", target, addr)
	}
	return b
}

// blockRules joins the addresses with the same ports.
func blockRules(blocks map[netip.Addr]*Block, ports map[netip.Addr][]Port) (rules []Rule) {
	addrs := make([]netip.Addr, 0, len(blocks))
	for addr := range blocks {
		addrs = append(addrs, addr)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	same := map[string]int{}
	for _, addr := range addrs {
		key := fmt.Sprint(ports[addr])
		i, has := same[key]
		if !has {
			i = len(rules)
			same[key] = i
			rules = append(rules, Rule{Ports: ports[addr]})
		}
		b := blocks[addr]
		rules[i].Blocks = append(rules[i].Blocks, *b)
		who := addr.String()
		if len(b.Names) > 0 {
			who += " (" + listed(b.Names) + ")"
		}
		if b.Node != "" {
			who += " (node " + b.Node + ")"
		}
		rules[i].Evidence = append(rules[i].Evidence, clean(who+": "+strings.TrimPrefix(b.evidence, "; ")))
	}
	return rules
}

// peerRule selects the pods of a peer.
func (a *advisor) peerRule(r *row) Rule {
	sel := a.inv.selector(r.peer.ref)
	rule := Rule{Namespace: r.peer.ref.Namespace, Labels: sel.labels}
	who := r.peer.label()
	if sel.doubt == "" {
		rule.Evidence = append(rule.Evidence, clean(who))
		return rule
	}
	if !sel.known && r.port == 53 && r.peer.ref.Namespace == "kube-system" {
		rule.Labels = map[string]string{"k8s-app": "kube-dns"}
		a.warn("%s: its labels are not known: %s allows k8s-app=kube-dns, which DNS has nearly everywhere", who,
			r.target)
		rule.Evidence = append(rule.Evidence, clean(who+" (CHECK: the label is a convention)"))
		return rule
	}
	if sel.known {
		a.warn("%s: %s", who, sel.doubt)
	} else {
		a.warn("%s: %s: rules for it match nothing until you replace the label %s", who, sel.doubt, unknownLabels)
	}
	rule.Evidence = append(rule.Evidence, clean(who+" (CHECK: "+sel.doubt+")"))
	return rule
}

// port is the port of a row, by the name that the pods give it.
func (a *advisor) port(r *row) Port {
	protocol := protocolOf(r.protocol)
	of := r.peer.ref
	if r.ingress {
		of = r.target
	}
	p := Port{Protocol: protocol, Port: intstr.FromInt32(int32(r.port)), Number: r.port}
	if name := a.inv.portName(of, r.port, protocol); name != "" {
		p.Port = intstr.FromString(name)
	}
	return p
}

func (a *advisor) portText(r *row) string {
	return fmt.Sprintf("%s %d", strings.ToUpper(r.protocol.Word()), r.port)
}

// addPort allows a port. A server of DNS gets both protocols: an answer that does not fit in a datagram comes by TCP.
func (a *advisor) addPort(rule *Rule, r *row) {
	rule.Ports = appendPort(rule.Ports, a.port(r))
	if r.ingress || r.port != 53 || r.protocol != event.Protocol_PROTOCOL_UDP {
		return
	}
	rule.dns = true
	stream := *r
	stream.protocol = event.Protocol_PROTOCOL_TCP
	if port := a.port(&stream); !slices.ContainsFunc(rule.Ports, func(p Port) bool {
		return p.Number == port.Number && p.Protocol == port.Protocol
	}) {
		rule.Ports = appendPort(rule.Ports, port)
		rule.Evidence = append(rule.Evidence, "TCP 53: for answers that do not fit in a datagram")
	}
}

func appendPort(ports []Port, p Port) []Port {
	for i := range ports {
		if ports[i].Number == p.Number && ports[i].Protocol == p.Protocol {
			ports[i].Port = p.Port
			return ports
		}
	}
	ports = append(ports, p)
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(string(a.Protocol), string(b.Protocol)))
	})
	return ports
}

// clean makes names that processes and DNS choose one line of a comment.
func clean(s string) string {
	return string(safe.AppendText(nil, strings.Join(strings.Fields(s), " ")))
}

// warn adds a warning once.
func (a *advisor) warn(format string, args ...any) {
	s := clean(fmt.Sprintf(format, args...))
	if !a.warned[s] {
		a.warned[s] = true
		a.out.Warnings = append(a.out.Warnings, s)
	}
}

// warnAll adds the warnings that are about all.
func (a *advisor) warnAll() {
	if len(a.oneSided) > 0 {
		a.warn("seen from one side only: %s: policies of their own, if there are any, must allow these connections, "+
			"too", listed(slices.Sorted(maps.Keys(a.oneSided))))
	}
	if a.seen.cut > 0 {
		a.warn("there was no room for %s of more than %d peers and ports: they are not allowed; advise for fewer pods",
			plural.Count(a.seen.cut, "flow event"), maxRows)
	}
	if a.seen.cutNames > 0 {
		a.warn("%s from DNS were left out", plural.Count(a.seen.cutNames, "name"))
	}
	for _, u := range a.inv.Unknown {
		a.warn("could not read %s", u)
	}
}
