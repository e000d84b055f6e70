package policy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Inventory is what the cluster says about pods, Services and nodes now. The zero value knows nothing.
type Inventory struct {
	pods       map[string][]*corev1.Pod // by namespace
	services   map[Ref]*corev1.Service
	endpoints  map[Ref][]netip.Addr // of Services without a selector
	podRanges  []netip.Prefix
	namespaces map[string]labels.Set
	policies   []*networkingv1.NetworkPolicy
	// Unknown is what could not be read, and why.
	Unknown []string
}

// NewInventory returns one of objects that were read elsewhere.
func NewInventory(pods []*corev1.Pod, services []*corev1.Service, namespaces []*corev1.Namespace) *Inventory {
	inv := &Inventory{}
	for _, n := range namespaces {
		inv.addNamespace(n.Name, n.Labels)
	}
	for _, p := range pods {
		inv.addNamespace(p.Namespace, nil)
		inv.pods[p.Namespace] = append(inv.pods[p.Namespace], p)
	}
	for _, s := range services {
		inv.addService(s)
	}
	return inv
}

func (inv *Inventory) addNamespace(name string, set labels.Set) {
	if inv.pods == nil {
		inv.pods, inv.namespaces = map[string][]*corev1.Pod{}, map[string]labels.Set{}
	}
	if _, known := inv.pods[name]; !known {
		inv.pods[name] = []*corev1.Pod{}
	}
	if set == nil && inv.namespaces[name] == nil {
		set = labels.Set{corev1.LabelMetadataName: name}
	}
	if set != nil {
		inv.namespaces[name] = set
	}
}

func (inv *Inventory) addService(s *corev1.Service) {
	if inv.services == nil {
		inv.services = map[Ref]*corev1.Service{}
	}
	inv.services[Ref{s.Namespace, "svc/" + s.Name}] = s
}

// Read reads what the cluster says about the namespaces that were seen. What may not be read is in Unknown. It fails
// where the cluster cannot be reached at all.
func Read(ctx context.Context, client kube.Interface, seen *Seen, policies bool) (*Inventory, error) {
	inv := &Inventory{}
	names := seen.namespaces()
	for i, ns := range names {
		list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		switch {
		case err != nil && i == 0 && !isStatus(err):
			return nil, err
		case err != nil:
			inv.Unknown = append(inv.Unknown, fmt.Sprintf("the pods of namespace %s: %v", ns, err))
			continue
		}
		inv.addNamespace(ns, nil)
		for j := range list.Items {
			inv.pods[ns] = append(inv.pods[ns], &list.Items[j])
		}
	}
	inv.readServices(ctx, client, names)
	inv.readNodes(ctx, client)
	if policies {
		inv.readPolicies(ctx, client, seen)
	}
	return inv, nil
}

// isStatus reports whether an API server has answered.
func isStatus(err error) bool {
	_, ok := err.(interface{ Status() metav1.Status })
	return ok
}

func (inv *Inventory) readServices(ctx context.Context, client kube.Interface, namespaces []string) {
	for _, ns := range namespaces {
		list, err := client.CoreV1().Services(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			inv.Unknown = append(inv.Unknown, fmt.Sprintf("the Services of namespace %s: %v", ns, err))
			continue
		}
		for i := range list.Items {
			s := &list.Items[i]
			inv.addService(s)
			if len(s.Spec.Selector) == 0 {
				inv.readEndpoints(ctx, client, s)
			}
		}
	}
}

func (inv *Inventory) readEndpoints(ctx context.Context, client kube.Interface, s *corev1.Service) {
	list, err := client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{discoveryv1.LabelServiceName: s.Name}.String()})
	if err != nil {
		inv.Unknown = append(inv.Unknown, fmt.Sprintf("the endpoints of Service %s/%s: %v", s.Namespace, s.Name, err))
		return
	}
	if inv.endpoints == nil {
		inv.endpoints = map[Ref][]netip.Addr{}
	}
	ref := Ref{s.Namespace, "svc/" + s.Name}
	for i := range list.Items {
		for _, e := range list.Items[i].Endpoints {
			for _, a := range e.Addresses {
				if addr, err := netip.ParseAddr(a); err == nil && !slices.Contains(inv.endpoints[ref], addr) {
					inv.endpoints[ref] = append(inv.endpoints[ref], addr)
				}
			}
		}
	}
	slices.SortFunc(inv.endpoints[ref], netip.Addr.Compare)
}

func (inv *Inventory) readNodes(ctx context.Context, client kube.Interface) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		inv.Unknown = append(inv.Unknown, fmt.Sprintf("the address ranges of pods: %v", err))
		return
	}
	for i := range list.Items {
		for _, cidr := range list.Items[i].Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				inv.podRanges = append(inv.podRanges, p)
			}
		}
	}
}

func (inv *Inventory) readPolicies(ctx context.Context, client kube.Interface, seen *Seen) {
	for _, ns := range seen.targetNamespaces() {
		list, err := client.NetworkingV1().NetworkPolicies(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			inv.Unknown = append(inv.Unknown, fmt.Sprintf("the NetworkPolicies of namespace %s: %v", ns, err))
			continue
		}
		for i := range list.Items {
			inv.policies = append(inv.policies, &list.Items[i])
		}
	}
	// Policies select namespaces by any label.
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		inv.Unknown = append(inv.Unknown, fmt.Sprintf("the labels of namespaces: %v", err))
		return
	}
	for i := range list.Items {
		inv.addNamespace(list.Items[i].Name, list.Items[i].Labels)
	}
}

// Policies returns the policies of the cluster that were read.
func (inv *Inventory) Policies() []*networkingv1.NetworkPolicy { return inv.policies }

// of returns the pods of a workload that have not finished.
func (inv *Inventory) of(ref Ref) (pods []*corev1.Pod) {
	for _, p := range inv.pods[ref.Namespace] {
		if !targets.Finished(p) && podRef(p) == ref {
			pods = append(pods, p)
		}
	}
	return pods
}

func podRef(p *corev1.Pod) Ref {
	return Ref{p.Namespace, cmp.Or(targets.Workload(p), "pod/"+p.Name)}
}

// knows reports whether the pods of a namespace are known.
func (inv *Inventory) knows(namespace string) bool { return inv.pods[namespace] != nil }

// selected are the pods of a namespace that have all labels.
func (inv *Inventory) selected(namespace string, set labels.Set) (pods []*corev1.Pod) {
	selector := labels.SelectorFromSet(set)
	for _, p := range inv.pods[namespace] {
		if !targets.Finished(p) && selector.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	return pods
}

// isPodAddress reports whether an address is one of the ranges that pods get.
func (inv *Inventory) isPodAddress(a netip.Addr) bool {
	return slices.ContainsFunc(inv.podRanges, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hostNetwork reports whether the pods of a workload use the network of their nodes.
func (inv *Inventory) hostNetwork(ref Ref) bool {
	return slices.ContainsFunc(inv.of(ref), func(p *corev1.Pod) bool { return p.Spec.HostNetwork })
}

// namespaces are those of targets and their peers.
func (s *Seen) namespaces() []string {
	all := map[string]bool{}
	for ref := range s.targets {
		all[ref.Namespace] = true
	}
	for k := range s.rows {
		if ns := k.peer.ref.Namespace; ns != "" {
			all[ns] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (s *Seen) targetNamespaces() []string {
	all := map[string]bool{}
	for ref := range s.targets {
		all[ref.Namespace] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// Targets is how many workloads were observed.
func (s *Seen) Targets() int { return len(s.targets) }
