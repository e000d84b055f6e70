package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Source lists and watches a resource for a reflector or an informer. adapt, if not nil, changes the options of each
// request. client is the one that r is of: fakes report through it that they do not stream lists.
func Source[T, L runtime.Object](
	client Interface, r Reader[T, L], adapt func(*metav1.ListOptions),
) cache.ListerWatcher {
	if adapt == nil {
		adapt = func(*metav1.ListOptions) {}
	}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			adapt(&o)
			return r.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			adapt(&o)
			return r.Watch(ctx, o)
		},
	}, client)
}
