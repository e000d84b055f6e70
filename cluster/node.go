package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// NodePods watches the pods of one node, for its agent.
type NodePods struct {
	cluster *Cluster
	synced  <-chan struct{}
}

// WatchNode watches the pods of a node that match. It returns at once, and retries for as long as the API server cannot
// be reached; failed is called for each failed request.
func WatchNode(
	ctx context.Context, client kubernetes.Interface, node string, match func(*corev1.Pod) bool, failed func(error),
) *NodePods {
	c := &Cluster{targets: newTargets(match, ""), client: client, note: func(string) {}}
	watching, stop := context.WithCancel(ctx)
	c.stop = stop
	synced := c.watch(watching, factory(client, metav1.NamespaceAll, func(lo *metav1.ListOptions) {
		lo.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}), podInformer, handlers{
		set:  func(obj any) { c.targets.apply(obj.(*corev1.Pod)) },
		gone: func(obj any) { c.targets.remove(string(obj.(*corev1.Pod).UID)) },
	}, failed)
	return &NodePods{cluster: c, synced: synced}
}

// Synced is closed when the pods are known.
func (n *NodePods) Synced() <-chan struct{} { return n.synced }

// NewFeed returns the pods, for an observer.
func (n *NodePods) NewFeed(node string) *Feed { return n.cluster.NewFeed(node) }

// Close ends the watch and waits for it.
func (n *NodePods) Close() { n.cluster.Close() }
