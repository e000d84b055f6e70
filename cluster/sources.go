package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// listerWatcher makes the source of a resource from the two calls of its client.
func listerWatcher[L runtime.Object](
	client kubernetes.Interface, tweak func(*metav1.ListOptions),
	list func(context.Context, metav1.ListOptions) (L, error),
	follow func(context.Context, metav1.ListOptions) (watch.Interface, error),
) cache.ListerWatcher {
	if tweak == nil {
		tweak = func(*metav1.ListOptions) {}
	}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			tweak(&o)
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			tweak(&o)
			return follow(ctx, o)
		},
	}, client)
}

func podsOf(
	client kubernetes.Interface, namespace string, tweak func(*metav1.ListOptions),
) cache.ListerWatcher {
	pods := client.CoreV1().Pods(namespace)
	return listerWatcher[*corev1.PodList](client, tweak, pods.List, pods.Watch)
}

func servicesOf(client kubernetes.Interface, namespace string) cache.ListerWatcher {
	services := client.CoreV1().Services(namespace)
	return listerWatcher[*corev1.ServiceList](client, nil, services.List, services.Watch)
}

func endpointSlicesOf(client kubernetes.Interface, namespace string) cache.ListerWatcher {
	endpoints := client.DiscoveryV1().EndpointSlices(namespace)
	return listerWatcher[*discoveryv1.EndpointSliceList](client, nil, endpoints.List, endpoints.Watch)
}

func nodesOf(client kubernetes.Interface) cache.ListerWatcher {
	nodes := client.CoreV1().Nodes()
	return listerWatcher[*corev1.NodeList](client, nil, nodes.List, nodes.Watch)
}
