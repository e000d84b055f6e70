package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

const (
	// maxBlocks bounds the addresses outside the cluster that a workload's rules of a direction name.
	maxBlocks = 100
	// maxPorts bounds the ports of one peer in a rule: tracers choose what they send, and nobody reads more.
	maxPorts = 1000
)

// Port is a port that a rule allows.
type Port struct {
	Protocol corev1.Protocol
	// Port is a number, or the name that the pods give it.
	Port intstr.IntOrString
	// Number is the port's number.
	Number uint16
}

// Rule allows one peer, or addresses with the same ports.
type Rule struct {
	// Namespace and Labels select pods; Labels nil: Blocks are addresses.
	Namespace string
	Labels    map[string]string
	Blocks    []Block
	Ports     []Port
	// Evidence describes the observed traffic, a line each.
	Evidence []string
	// dns: the peer resolves names.
	dns bool
}

// Block is an address that is allowed.
type Block struct {
	Prefix netip.Prefix
	// Names are those that DNS gave for it.
	Names []string
	// Node is the name of the node that has it; empty: it is outside the cluster.
	Node     string
	evidence string
}

// Policy is the advice for one workload.
type Policy struct {
	Ref             Ref
	Name            string
	Labels          map[string]string
	Ingress, Egress []Rule
	Comments        []string
}

// Advice is what follows from an observation.
type Advice struct {
	Policies []*Policy
	// Warnings are for people: what the policies lack, and what to check before they are applied.
	Warnings []string
}

// advisor makes an advice.
type advisor struct {
	seen *Seen
	inv  *Inventory
	out  *Advice
	// oneSided are peers that were not observed themselves.
	oneSided map[string]bool
	warned   map[string]bool
}

// Advise returns policies that allow the observed traffic, and nothing else.
func Advise(seen *Seen, inv *Inventory) *Advice {
	a := &advisor{seen: seen, inv: inv, out: &Advice{}, oneSided: map[string]bool{}, warned: map[string]bool{}}
	by := seen.byTarget(inv)
	for _, ref := range sortedRefs(seen.targets) {
		if p := a.policy(ref, by[ref]); p != nil {
			a.out.Policies = append(a.out.Policies, p)
		}
	}
	a.warnAll()
	return a.out
}

// byTarget returns the rows of each target in a fixed order, with Services resolved to the pods behind them.
func (s *Seen) byTarget(inv *Inventory) map[Ref][]*row {
	merged := map[rowKey]*row{}
	for _, r := range s.rows {
		if r.attempts == 0 && len(r.outcomes) == 0 {
			continue // more became known of its flows, which are in other rows
		}
		for _, one := range inv.resolve(r) {
			if before := merged[one.rowKey]; before != nil {
				before.merge(one)
			} else {
				merged[one.rowKey] = one
			}
		}
	}
	by := map[Ref][]*row{}
	for _, r := range merged {
		by[r.target] = append(by[r.target], r)
	}
	for _, rows := range by {
		slices.SortFunc(rows, compareRows)
	}
	return by
}

func (r *row) merge(o *row) {
	r.attempts += o.attempts
	r.established += o.established
	for k, n := range o.outcomes {
		if r.outcomes == nil {
			r.outcomes = map[string]int{}
		}
		r.outcomes[k] += n
	}
	r.last = max(r.last, o.last)
	r.process, r.service = cmp.Or(r.process, o.process), cmp.Or(r.service, o.service)
	r.both = r.both || o.both
}

func compareRows(a, b *row) int {
	return cmp.Or(cmp.Compare(a.peer.kind, b.peer.kind), strings.Compare(a.peer.ref.Namespace, b.peer.ref.Namespace),
		strings.Compare(a.peer.ref.Name, b.peer.ref.Name), strings.Compare(a.peer.name, b.peer.name),
		a.peer.addr.Compare(b.peer.addr), cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol))
}

// resolve returns a row of a Service as rows of the workloads behind it, with their ports.
func (inv *Inventory) resolve(r *row) []*row {
	if r.peer.kind != peerService {
		own := *r
		return []*row{&own}
	}
	svc := inv.services[r.peer.ref]
	if svc == nil {
		own := *r
		return []*row{&own}
	}
	port := servicePort(svc, r.port, r.protocol)
	if port == nil {
		own := *r
		return []*row{&own}
	}
	var rows []*row
	add := func(p peer, number uint16) {
		own := *r
		own.peer, own.port, own.addresses = p, number, nil
		own.service = svc.Name
		for _, before := range rows {
			if before.rowKey == own.rowKey {
				return
			}
		}
		rows = append(rows, &own)
	}
	if len(svc.Spec.Selector) == 0 {
		for _, addr := range inv.endpoints[r.peer.ref] {
			add(peer{kind: peerAddress, addr: addr}, cmp.Or(uint16(port.TargetPort.IntVal), uint16(port.Port)))
		}
	} else {
		for _, p := range inv.selected(svc.Namespace, svc.Spec.Selector) {
			number := uint16(cmp.Or(port.TargetPort.IntVal, port.Port))
			if port.TargetPort.Type == intstr.String {
				number = portNumber(p, port.TargetPort.StrVal)
			}
			if number != 0 {
				add(peer{kind: peerWorkload, ref: podRef(p)}, number)
			}
		}
	}
	if len(rows) == 0 {
		own := *r
		return []*row{&own}
	}
	return rows
}

func servicePort(svc *corev1.Service, port uint16, protocol event.Protocol) *corev1.ServicePort {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.Port == int32(port) && cmp.Or(p.Protocol, corev1.ProtocolTCP) == protocolOf(protocol) {
			return p
		}
	}
	return nil
}

func protocolOf(p event.Protocol) corev1.Protocol {
	if p == event.Protocol_PROTOCOL_UDP {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

func sortedRefs[V any](m map[Ref]V) []Ref {
	refs := make([]Ref, 0, len(m))
	for r := range m {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b Ref) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return refs
}

// policy is the advice for one workload; nil: there can be none.
func (a *advisor) policy(ref Ref, rows []*row) *Policy {
	if a.inv.hostNetwork(ref) {
		a.warn("%s: no policy: it uses the network of its nodes, to which policies do not apply", ref)
		return nil
	}
	sel := a.inv.selector(ref)
	p := &Policy{Ref: ref, Name: "orb8-" + strings.ReplaceAll(ref.Name, "/", "-"), Labels: sel.labels}
	p.Comments = append(p.Comments, fmt.Sprintf("%s: %s observed", ref, plural.Count(len(a.seen.targets[ref]), "pod")))
	if sel.doubt != "" {
		p.Comments = append(p.Comments, "CHECK: "+sel.doubt)
		if sel.known {
			a.warn("%s: %s", ref, sel.doubt)
		} else {
			a.warn("%s: %s: its policy selects no pod until you replace the label %s", ref, sel.doubt, unknownLabels)
		}
	}
	allowed := map[bool][]*row{}
	for _, r := range rows {
		if why := a.refuse(r); why != "" {
			p.Comments = append(p.Comments, clean("not allowed: "+r.describe()+": "+why))
			continue
		}
		allowed[r.ingress] = append(allowed[r.ingress], r)
	}
	p.Ingress, p.Egress = a.rules(p, allowed[true]), a.rules(p, allowed[false])
	return p
}

// refuse returns why a row makes no rule; empty: it makes one.
func (a *advisor) refuse(r *row) string {
	target := r.target.String()
	switch {
	case r.protocol != event.Protocol_PROTOCOL_TCP && r.protocol != event.Protocol_PROTOCOL_UDP:
		a.warn("%s: %s was seen: NetworkPolicies allow TCP, UDP and SCTP only; whether it passes depends on the "+
			"network plugin", target, r.protocol.Word())
		return "a NetworkPolicy cannot allow it"
	case r.established == 0:
		return "it never became a connection (" + r.outcome() + ")"
	case r.guessed && isEphemeral(uint32(r.port)):
		a.warn("%s: %s is older than the observation, and which end opened it is not known: it is not allowed",
			target, r.describe())
		return "which end opened it is not known"
	case r.peer.kind == peerOwnNode && r.ingress:
		return "" // it becomes a comment: rules does not need it
	case r.peer.kind == peerWithheld:
		a.warn("%s: peers that you may not see were left out: their connections will be dropped", target)
		return "you may not see who it is"
	case r.peer.kind == peerAddress && a.inv.isPodAddress(r.peer.addr):
		a.warn("%s: %s is the address of a pod that is gone or has no name: it is not allowed; observe again",
			target, r.peer.addr)
		return "a pod that is not known by name"
	case r.peer.kind == peerService:
		a.warn("%s: the pods behind Service %s are not known: what it sent there is not allowed; allow them by hand",
			target, r.peer.ref)
		return "the pods behind the Service are not known"
	case !r.peer.addr.IsValid() && (r.peer.kind == peerAddress || r.peer.kind == peerNode):
		return "its address is not known"
	}
	return ""
}

// outcome says how attempts ended.
func (r *row) outcome() string {
	var parts []string
	for _, word := range slices.Sorted(maps.Keys(r.outcomes)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.outcomes[word], word))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%d unanswered", r.attempts)
	}
	return strings.Join(parts, ", ")
}

// label is the peer in words.
func (p *peer) label() string {
	switch p.kind {
	case peerOwnNode, peerNode:
		return "node " + p.name
	case peerAddress:
		return p.addr.String()
	case peerWithheld:
		return "a peer that is withheld"
	}
	return p.ref.Name + " in " + p.ref.Namespace
}

// describe says what a row is, without numbers.
func (r *row) describe() string {
	port := ""
	if r.port != 0 {
		port = fmt.Sprintf(" port %d", r.port)
	}
	if r.ingress {
		return fmt.Sprintf("from %s to %s%s", r.peer.label(), r.protocol.Word(), port)
	}
	return fmt.Sprintf("to %s %s%s", r.peer.label(), r.protocol.Word(), port)
}

// evidence describes the observed traffic: who, how often, and when last.
func (r *row) evidence() string {
	s := plural.Count(r.established, "connection")
	if r.protocol == event.Protocol_PROTOCOL_UDP {
		s = plural.Count(r.established, "flow")
	}
	if r.process != "" {
		s += " of " + r.process
	}
	if r.service != "" {
		s += " through Service " + r.service
	}
	if failed := r.attempts - r.established; failed > 0 {
		s += fmt.Sprintf(", %d more failed", failed)
	}
	return clean(s + ", last seen " + r.lastTime().Format(time.RFC3339))
}
