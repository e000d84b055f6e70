package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// dnsPortsTimeout limits all requests of DNSPorts together.
const dnsPortsTimeout = 5 * time.Second

// openshiftDNS is the namespace of OpenShift's DNS server. Only administrators may create openshift-* namespaces.
const openshiftDNS = "openshift-dns"

// DNSPorts returns the ports of DNS Services and of their pods: the client of a Service with port 5354 and target port
// 53 sends to 5354, its server receives on 53. A port of a Service is for DNS if it is one of known, has such a target
// port, or is named dns, dns-udp, dns-tcp or domain.
//
// Tracers copy the payload of these ports, so only Services in trusted namespaces count: kube-system and openshift-dns,
// whose ports come first, and namespace, which holds the targets. namespace is empty where all namespaces are traced:
// anyone who may create a Service in one of them would choose ports for the others.
//
// The error is the first failed request. The ports are valid even with an error.
func DNSPorts(ctx context.Context, client kube.Interface, namespace string, known []uint32) ([]uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsPortsTimeout)
	defer cancel()
	var ports []uint32
	var first error
	add := func(port int32) {
		if p := uint32(port); port > 0 && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	for _, ns := range dnsNamespaces(namespace) {
		services, err := dnsServices(ctx, client, ns)
		// Only OpenShift has this namespace. Other clusters may still refuse to list it.
		if err != nil && (ns != openshiftDNS || !apierrors.IsForbidden(err)) {
			first = cmp.Or(first, err)
		}
		for i := range services {
			err := addDNSPorts(ctx, client, &services[i], known, add)
			first = cmp.Or(first, err)
		}
	}
	return ports, first
}

// dnsNamespaces returns the namespaces whose Services count.
func dnsNamespaces(targets string) []string {
	namespaces := []string{metav1.NamespaceSystem, openshiftDNS}
	if targets != metav1.NamespaceAll && !slices.Contains(namespaces, targets) {
		namespaces = append(namespaces, targets)
	}
	return namespaces
}

// dnsServices lists the Services of a namespace in the order of their names.
func dnsServices(ctx context.Context, client kube.Interface, namespace string) ([]corev1.Service, error) {
	list, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, &ForbiddenError{Verb: "list", Resource: "services", Namespace: namespace, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("list services in namespace %q: %w", namespace, err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// addDNSPorts adds the ports of one Service that are for DNS.
func addDNSPorts(
	ctx context.Context, client kube.Interface, s *corev1.Service, known []uint32, add func(int32),
) error {
	var first error
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if !isDNS(p, known) {
			continue
		}
		add(p.Port)
		targets, err := targetPorts(ctx, client, s, p)
		first = cmp.Or(first, err)
		for _, target := range targets {
			add(target)
		}
		add(p.NodePort)
	}
	return first
}

func isDNS(p *corev1.ServicePort, known []uint32) bool {
	if p.Protocol == corev1.ProtocolSCTP {
		return false
	}
	switch strings.ToLower(p.Name) {
	case "dns", "dns-udp", "dns-tcp", "domain":
		return true
	}
	return slices.Contains(known, uint32(p.Port)) ||
		p.TargetPort.Type == intstr.Int && slices.Contains(known, uint32(p.TargetPort.IntVal))
}

// targetPorts returns the pod ports behind a Service's port. A named target port may differ by pod.
func targetPorts(
	ctx context.Context, client kube.Interface, s *corev1.Service, p *corev1.ServicePort,
) ([]int32, error) {
	if p.TargetPort.Type == intstr.Int {
		return []int32{p.TargetPort.IntVal}, nil
	}
	list, err := client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name,
	})
	if err != nil {
		return nil, fmt.Errorf("list endpointslices of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	var ports []int32
	for i := range list.Items {
		for _, ep := range list.Items[i].Ports {
			name := ""
			if ep.Name != nil {
				name = *ep.Name
			}
			if name == p.Name && ep.Port != nil && !slices.Contains(ports, *ep.Port) {
				ports = append(ports, *ep.Port)
			}
		}
	}
	slices.Sort(ports)
	return ports, nil
}
