package targets

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Handlers take the objects of one resource, one call at a time.
type Handlers struct {
	// Set takes a new or changed object, of which it keeps only what it needs. Gone takes what names one that was
	// deleted.
	Set  func(obj any)
	Gone func(name types.NamespacedName, uid types.UID)
}

// Reflection is a list and a watch of one resource.
type Reflection struct {
	Source cache.ListerWatcher
	// Kind is an object of the resource.
	Kind     runtime.Object
	Handlers Handlers
	// Failed is called for each failed request, which is repeated. streamed: it was for a streamed list. An API server
	// that does not support those gets a request for a list then.
	Failed func(err error, streamed bool)
	// Backoff is between two attempts; nil: that of client-go.
	Backoff *wait.Backoff
}

// Run lists and watches until ctx ends. It calls synced after the first list.
func (r *Reflection) Run(ctx context.Context, synced func()) {
	silent := klog.Logger{} // Failed reports
	store := &relay{Handlers: r.Handlers, known: map[types.NamespacedName]types.UID{}, synced: sync.OnceFunc(synced)}
	cache.NewReflectorWithOptions(r.reporting(), r.Kind, store, cache.ReflectorOptions{
		Logger: &silent, Backoff: r.Backoff}).RunWithContext(klog.NewContext(ctx, silent))
}

// reporting is the source, whose failed requests are reported.
func (r *Reflection) reporting() cache.ListerWatcher {
	to := cache.ToListerWatcherWithContext(r.Source)
	report := func(err error, streamed bool) {
		if err != nil {
			r.Failed(err, streamed)
		}
	}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := to.ListWithContext(ctx, o)
			report(err, false)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			changes, err := to.WatchWithContext(ctx, o)
			report(err, o.SendInitialEvents != nil)
			return changes, err
		},
	}, r.Source)
}

// relay is the store of a reflector: it passes the objects on and keeps of each only what names it. The store of an
// informer keeps the objects, which are 3 KB a pod. The reflector calls it from one goroutine.
type relay struct {
	Handlers
	known  map[types.NamespacedName]types.UID
	synced func()
}

// Add implements cache.ReflectorStore.
func (r *relay) Add(obj any) error {
	name, uid := nameOf(obj)
	if before, ok := r.known[name]; ok && before != uid {
		r.Gone(name, before)
	}
	r.known[name] = uid
	r.Set(obj)
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
	r.Gone(name, uid)
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
			r.Gone(name, uid)
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
