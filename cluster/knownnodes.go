package cluster

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeResource is the resource of nodes.
const nodeResource = "nodes"

// knownNodes are the nodes as the watch for names knows them.
type knownNodes struct {
	*sync.Mutex
	byName map[string]*corev1.Node
	// settled is closed when the nodes were listed, or may not be.
	settled chan struct{}
	settle  func()
}

func newKnownNodes() knownNodes {
	settled := make(chan struct{})
	return knownNodes{Mutex: &sync.Mutex{}, byName: map[string]*corev1.Node{}, settled: settled,
		settle: sync.OnceFunc(func() { close(settled) })}
}

func (k *knownNodes) set(n *corev1.Node) {
	k.Lock()
	defer k.Unlock()
	k.byName[n.Name] = strip(n)
}

func (k *knownNodes) remove(name string) {
	k.Lock()
	defer k.Unlock()
	delete(k.byName, name)
}

// Node returns a node with what launch.NodeProblems needs of it. It waits for the first list of nodes, until ctx ends;
// nil: the node is not known, or the user may not list nodes.
func (c *Cluster) Node(ctx context.Context, name string) *corev1.Node {
	select {
	case <-c.nodes.settled:
	case <-ctx.Done():
		return nil
	}
	c.nodes.Lock()
	defer c.nodes.Unlock()
	return c.nodes.byName[name]
}

// strip leaves what launch.NodeProblems needs of a node.
func strip(o *corev1.Node) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: o.Name, Labels: o.Labels},
		Spec: corev1.NodeSpec{Taints: o.Spec.Taints}, Status: corev1.NodeStatus{NodeInfo: o.Status.NodeInfo}}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			n.Status.Conditions = append(n.Status.Conditions, c)
		}
	}
	return n
}
