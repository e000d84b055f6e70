package cluster

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

func podsOf(client kube.Interface, namespace string, adapt func(*metav1.ListOptions)) cache.ListerWatcher {
	return kube.Source(client, client.CoreV1().Pods(namespace), adapt)
}

func servicesOf(client kube.Interface, namespace string) cache.ListerWatcher {
	return kube.Source(client, client.CoreV1().Services(namespace), nil)
}

func endpointSlicesOf(client kube.Interface, namespace string) cache.ListerWatcher {
	return kube.Source(client, client.DiscoveryV1().EndpointSlices(namespace), nil)
}

func nodesOf(client kube.Interface) cache.ListerWatcher {
	return kube.Source(client, client.CoreV1().Nodes(), nil)
}
