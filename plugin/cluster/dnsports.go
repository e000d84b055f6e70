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
	"k8s.io/client-go/kubernetes"
)

// dnsPortsTimeout bounds the requests of DNSPorts.
const dnsPortsTimeout = 5 * time.Second

// DNSPorts returns the ports on which the cluster's DNS Services are asked, and those on which their pods are: the client
// of a Service with port 5354 and target port 53 sends to the one, its server receives on the other. A port of a Service
// is for DNS if it is one of known, has such a target port, or is named dns, dns-udp, dns-tcp or domain.
//
// The ports of the cluster's own server come first, then those of Services in namespace, then all others. Without the
// right to list all Services, those of kube-system and of namespace count. The error names what could not be listed; the
// ports are valid all the same.
func DNSPorts(ctx context.Context, client kubernetes.Interface, namespace string, known []uint32) ([]uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsPortsTimeout)
	defer cancel()
	services, err := listServices(ctx, client, namespace)
	rank := func(s *corev1.Service) int {
		switch {
		case s.Namespace == metav1.NamespaceSystem && s.Labels["k8s-app"] == "kube-dns":
			return 0
		case s.Namespace == namespace:
			return 1
		}
		return 2
	}
	slices.SortFunc(services, func(a, b corev1.Service) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var ports []uint32
	add := func(port int32) {
		if p := uint32(port); port > 0 && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	for i := range services {
		s := &services[i]
		for j := range s.Spec.Ports {
			p := &s.Spec.Ports[j]
			if !isDNS(p, known) {
				continue
			}
			add(p.Port)
			targets, targetErr := targetPorts(ctx, client, s, p)
			if err == nil {
				err = targetErr
			}
			for _, target := range targets {
				add(target)
			}
		}
	}
	return ports, err
}

func listServices(ctx context.Context, client kubernetes.Interface, namespace string) ([]corev1.Service, error) {
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err == nil {
		return list.Items, nil
	}
	if !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("list services: %w", err)
	}
	var services []corev1.Service
	namespaces := []string{metav1.NamespaceSystem, namespace}
	slices.Sort(namespaces)
	for _, ns := range slices.Compact(namespaces) {
		if ns == metav1.NamespaceAll {
			continue
		}
		list, nsErr := client.CoreV1().Services(ns).List(ctx, metav1.ListOptions{})
		if nsErr == nil {
			services = append(services, list.Items...)
		}
	}
	return services, fmt.Errorf("list services: %w", err)
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

// targetPorts are the ports of the pods behind a Service's port. Where pods name them, they may differ by pod.
func targetPorts(
	ctx context.Context, client kubernetes.Interface, s *corev1.Service, p *corev1.ServicePort,
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
