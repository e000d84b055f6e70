package cluster

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// handlers take the objects of one resource, one call at a time.
type handlers struct {
	// set takes a new or changed object, of which it keeps only what it needs. gone takes what names one that was
	// deleted.
	set  func(obj any)
	gone func(name types.NamespacedName, uid types.UID)
}

// relay is the store of a reflector: it passes the objects on and keeps of each only what names it. The store of an
// informer keeps the objects, which are 3 KB a pod.
type relay struct {
	handlers
	known  map[types.NamespacedName]types.UID
	synced func()
}

// Add implements cache.ReflectorStore.
func (r *relay) Add(obj any) error {
	name, uid := nameOf(obj)
	if before, ok := r.known[name]; ok && before != uid {
		r.gone(name, before)
	}
	r.known[name] = uid
	r.set(obj)
	return nil
}

// Update implements cache.ReflectorStore.
func (r *relay) Update(obj any) error { return r.Add(obj) }

// Delete implements cache.ReflectorStore.
func (r *relay) Delete(obj any) error {
	name, uid := nameOf(obj)
	if r.known[name] == uid {
		delete(r.known, name)
	}
	r.gone(name, uid)
	return nil
}

// Replace implements cache.ReflectorStore: it takes a whole list.
func (r *relay) Replace(list []any, _ string) error {
	listed := make(map[types.NamespacedName]struct{}, len(list))
	for _, obj := range list {
		name, _ := nameOf(obj)
		listed[name] = struct{}{}
	}
	for name, uid := range r.known {
		if _, ok := listed[name]; !ok {
			delete(r.known, name)
			r.gone(name, uid)
		}
	}
	for _, obj := range list {
		if err := r.Add(obj); err != nil {
			return err
		}
	}
	r.synced()
	return nil
}

// Resync implements cache.ReflectorStore. It has nothing to repeat: who takes the objects keeps what it needs.
func (r *relay) Resync() error { return nil }

func nameOf(obj any) (types.NamespacedName, types.UID) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return types.NamespacedName{}, ""
	}
	return types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetName()}, m.GetUID()
}

// watch lists and watches a resource until ctx ends. The channel closes after h has received the first list. failed is
// called for each failed request, which is repeated.
func (c *Cluster) watch(
	ctx context.Context, source cache.ListerWatcher, kind runtime.Object, h handlers, failed func(error),
) <-chan struct{} {
	done := make(chan struct{})
	store := &relay{handlers: h, known: map[types.NamespacedName]types.UID{},
		synced: sync.OnceFunc(func() { close(done) })}
	silent := klog.Logger{} // failed reports
	reflector := cache.NewReflectorWithOptions(reporting(source, failed), kind, store,
		cache.ReflectorOptions{Logger: &silent})
	c.watches.Go(func() { reflector.RunWithContext(klog.NewContext(ctx, silent)) })
	return done
}

// reporting reports the failed requests of source. A streamed list that the API server does not support is none: a list
// follows.
func reporting(source cache.ListerWatcher, failed func(error)) cache.ListerWatcher {
	to := cache.ToListerWatcherWithContext(source)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := to.ListWithContext(ctx, o)
			if err != nil {
				failed(err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			changes, err := to.WatchWithContext(ctx, o)
			if err != nil && (o.SendInitialEvents == nil || apierrors.IsForbidden(err)) {
				failed(err)
			}
			return changes, err
		},
	}, source)
}

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
