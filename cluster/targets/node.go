package targets

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// NodePods watches the pods of one node, for its agent.
type NodePods struct {
	set    *Set
	synced chan struct{}
	stop   context.CancelFunc
	work   sync.WaitGroup
}

// retry is the pause between two attempts to list or watch the pods of a node. It stays short, unlike a reflector's own
// of up to 30 s, since the events of a new pod cannot be recorded before the pod is known. An API server that comes
// back gets two requests a second from 1,000 nodes.
var retry = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Cap: 5 * time.Second, Steps: 4, Jitter: 0.5}

// PodsOf lists and watches the pods of a node. It uses a client of pods only: the clients of all resources, which other
// programs take, are tens of MB of code, and an agent has 80 MiB in all.
func PodsOf(config *rest.Config, node string) (cache.ListerWatcher, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	pods := rest.CopyConfig(config)
	pods.APIPath, pods.GroupVersion = "/api", &corev1.SchemeGroupVersion
	pods.ContentType = runtime.ContentTypeProtobuf
	pods.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(pods)
	if err != nil {
		return nil, err
	}
	return cache.NewListWatchFromClient(client, "pods", metav1.NamespaceAll,
		fields.OneTermEqualSelector("spec.nodeName", node)), nil
}

// WatchNode watches the pods that match, of those that source lists. It returns at once, and retries for as long as the
// API server cannot be reached; failed is called for each failed request.
func WatchNode(
	ctx context.Context, source cache.ListerWatcher, match func(*corev1.Pod) bool, failed func(error),
) *NodePods {
	watching, stop := context.WithCancel(ctx)
	n := &NodePods{set: New(match, ""), synced: make(chan struct{}), stop: stop}
	pods := Reflection{Source: source, Kind: &corev1.Pod{}, Backoff: &retry,
		Failed: func(err error, _ bool) { failed(err) }, Handlers: Handlers{
			Set: func(obj any) {
				if pod, ok := obj.(*corev1.Pod); ok {
					n.set.Apply(pod)
				}
			},
			Gone: func(_ types.NamespacedName, uid types.UID) { n.set.Remove(string(uid)) },
		}}
	n.work.Go(func() { pods.Run(watching, func() { close(n.synced) }) })
	return n
}

// Synced is closed when the pods are known.
func (n *NodePods) Synced() <-chan struct{} { return n.synced }

// NewFeed returns the pods of a node, for an observer.
func (n *NodePods) NewFeed(node string) *Feed { return n.set.NewFeed(node) }

// Close ends the watch and waits for it.
func (n *NodePods) Close() {
	n.stop()
	n.work.Wait()
}
