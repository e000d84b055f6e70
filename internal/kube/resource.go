package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// object is a pointer to an object of the API.
type object[O any] interface {
	*O
	runtime.Object
	metav1.Object
}

// list is a pointer to a list of the API.
type list[O any] interface {
	*O
	runtime.Object
}

// resource implements Resource by requests.
type resource[O, L any, T object[O], TL list[L]] struct {
	client          rest.Interface
	name, namespace string
	codec           runtime.ParameterCodec
}

// request addresses the resource, in its namespace.
func (r *resource[O, L, T, TL]) request(verb string) *rest.Request {
	return r.client.Verb(verb).UseProtobufAsDefault().NamespaceIfScoped(r.namespace, r.namespace != "").Resource(r.name)
}

// Get implements Reader.
func (r *resource[O, L, T, TL]) Get(ctx context.Context, name string, o metav1.GetOptions) (T, error) {
	into := T(new(O))
	return into, r.request("GET").Name(name).VersionedParams(&o, r.codec).Do(ctx).Into(into)
}

// timeout is the time that the API server is given for a list or a watch; 0: its own.
func timeout(o *metav1.ListOptions) time.Duration {
	if o.TimeoutSeconds == nil {
		return 0
	}
	return time.Duration(*o.TimeoutSeconds) * time.Second
}

// List implements Reader.
func (r *resource[O, L, T, TL]) List(ctx context.Context, o metav1.ListOptions) (TL, error) {
	into := TL(new(L))
	return into, r.request("GET").VersionedParams(&o, r.codec).Timeout(timeout(&o)).Do(ctx).Into(into)
}

// Watch implements Reader.
func (r *resource[O, L, T, TL]) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return r.request("GET").VersionedParams(&o, r.codec).Timeout(timeout(&o)).Watch(ctx)
}

// Create implements Creator.
func (r *resource[O, L, T, TL]) Create(ctx context.Context, object T, o metav1.CreateOptions) (T, error) {
	into := T(new(O))
	return into, r.request("POST").VersionedParams(&o, r.codec).Body(object).Do(ctx).Into(into)
}

// Update implements Resource.
func (r *resource[O, L, T, TL]) Update(ctx context.Context, object T, o metav1.UpdateOptions) (T, error) {
	into := T(new(O))
	return into, r.request("PUT").Name(object.GetName()).VersionedParams(&o, r.codec).Body(object).Do(ctx).Into(into)
}

// Patch implements Resource.
func (r *resource[O, L, T, TL]) Patch(
	ctx context.Context, name string, kind types.PatchType, patch []byte, o metav1.PatchOptions, subresources ...string,
) (T, error) {
	into := T(new(O))
	return into, r.request("PATCH").SetHeader("Content-Type", string(kind)).Name(name).SubResource(subresources...).
		VersionedParams(&o, r.codec).Body(patch).Do(ctx).Into(into)
}

// Delete implements Resource.
func (r *resource[O, L, T, TL]) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	return r.request("DELETE").Name(name).Body(&o).Do(ctx).Error()
}

// pods implements Pods.
type pods struct {
	*resource[corev1.Pod, corev1.PodList, *corev1.Pod, *corev1.PodList]
}

// GetLogs implements Pods.
func (p pods) GetLogs(name string, o *corev1.PodLogOptions) *rest.Request {
	return p.client.Get().Namespace(p.namespace).Resource(p.name).Name(name).SubResource("log").
		VersionedParams(o, p.codec)
}
