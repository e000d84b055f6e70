package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Collections of the API server.
const (
	podsOf     = "api/v1/pods"
	nodesOf    = "api/v1/nodes"
	servicesOf = "api/v1/services"
	slicesOf   = "apis/discovery.k8s.io/v1/endpointslices"
)

const (
	// install is the namespace that orb8 is installed in, agentService the Service of its agents.
	install, agentService = "orb8-system", "orb8-agent"
	// sliceEndpoints is the number of endpoints of an EndpointSlice, as Kubernetes makes them.
	sliceEndpoints = 100
)

// objects stores the cluster of a plan: nodes, pods, Services, and the agents' endpoints.
func (p *plan) objects(a *api) error {
	for node := range p.agents {
		if err := a.put(nodesOf, nodeObject(node)); err != nil {
			return err
		}
		for number := range p.pods {
			if err := a.put(podsOf, podObject(pod{node, number})); err != nil {
				return err
			}
		}
	}
	for first := 0; first < p.agents; first += backends {
		if err := p.serviceObjects(a, pod{first, 0}); err != nil {
			return err
		}
	}
	for first := 0; first < p.agents; first += sliceEndpoints {
		var agents []discoveryv1.Endpoint
		for node := first; node < min(first+sliceEndpoints, p.agents); node++ {
			agents = append(agents, endpoint(agentAddress(node).String(), node))
		}
		name := fmt.Sprintf("%s-%03d", agentService, first/sliceEndpoints)
		if err := a.put(slicesOf, sliceObject(install, agentService, name, 9090, agents)); err != nil {
			return err
		}
	}
	return nil
}

func nodeObject(node int) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName(node), UID: types.UID(nodeName(node))},
		Spec:       corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.%d.%d.0/24", byte(node>>8), byte(node))},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: nodeAddress(node).String()}}},
	}
}

func podObject(d pod) *corev1.Pod {
	address := d.address().String()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.namespace(), Name: d.name(), UID: types.UID(d.uid()),
			Labels: map[string]string{"app": d.app(), "pod-template-hash": podHash},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet",
				Name: d.app() + "-" + podHash, Controller: new(true)}},
		},
		Spec: corev1.PodSpec{NodeName: nodeName(d.node), Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
			StartTime: new(metav1.Unix(1_700_000_000, 0))},
	}
}

// serviceObjects stores the Service of which a pod is the first endpoint.
func (p *plan) serviceObjects(a *api, first pod) error {
	name := fmt.Sprintf("web-%04d", first.service())
	address := serviceAddress(first.service()).String()
	var endpoints []discoveryv1.Endpoint
	for node := first.node; node < min(first.node+backends, p.agents); node++ {
		endpoints = append(endpoints, endpoint(pod{node, 0}.address().String(), node))
	}
	err := a.put(servicesOf, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: first.namespace(), Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: address, ClusterIPs: []string{address},
			Ports: []corev1.ServicePort{{Name: "http", Port: servicePort, Protocol: corev1.ProtocolTCP}}},
	})
	if err != nil {
		return err
	}
	return a.put(slicesOf, sliceObject(first.namespace(), name, name+"-0", appPort, endpoints))
}

func endpoint(address string, node int) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, NodeName: new(nodeName(node)),
		Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true)}}
}

func sliceObject(namespace, service, name string, port int32, endpoints []discoveryv1.Endpoint) runtime.Object {
	portName := "http"
	if service == agentService {
		portName = "grpc"
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name,
			Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: new(corev1.ProtocolTCP)}},
	}
}
