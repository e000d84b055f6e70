package targets

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Set is the set of observed pods by node. Its readers wait for changes.
type Set struct {
	match     func(*corev1.Pod) bool
	container string

	mu    sync.Mutex
	nodes map[string]*nodeTargets
	// where is the node of each pod by UID: a deletion may arrive without the change before it.
	where  map[string]string
	labels podLabels
	// pending are nodes with a live target that nextNode has not returned yet.
	pending []string
	changed chan struct{} // closed and replaced at each change
}

type nodeTargets struct {
	pods map[string]*session.Pod // by UID; values are immutable
	live map[string]bool         // UIDs of unfinished pods
	host map[string]bool         // UIDs of pods in the host's network
	// whole: the node itself is a target, with or without pods.
	whole bool
	seen  bool // in pending, or returned by NextNode
	// idleSince is when busy became false; zero while it is true.
	idleSince time.Time
}

// noteIdle updates idleSince. It is called after each change of the fields that busy reads.
func (n *nodeTargets) noteIdle() {
	if n.busy() {
		n.idleSince = time.Time{}
	} else if n.idleSince.IsZero() {
		n.idleSince = time.Now()
	}
}

// busy reports whether a pod of the node is a target and not finished.
func (n *nodeTargets) busy() bool {
	if n.whole {
		return true
	}
	for _, live := range n.live {
		if live {
			return true
		}
	}
	return false
}

// New returns an empty set of the pods that match. container restricts to the containers of this name; empty: all.
func New(match func(*corev1.Pod) bool, container string) *Set {
	return &Set{
		match: match, container: container,
		nodes: map[string]*nodeTargets{}, where: map[string]string{}, changed: make(chan struct{}),
		labels: newPodLabels(),
	}
}

// Apply stores the current state of a pod.
func (t *Set) Apply(pod *corev1.Pod) {
	uid := string(pod.UID)
	if pod.Spec.NodeName == "" || !t.match(pod) {
		// Labels change: a pod may stop being a target.
		t.Remove(uid)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(pod.Spec.NodeName)
	old := n.pods[uid]
	if old == nil && Finished(pod) {
		// It ended before the first event of the watch: there is nothing to observe. A pod that ends later stays,
		// because its container ids name its last events.
		return
	}
	n.live[uid] = !Finished(pod)
	n.noteIdle()
	if pod.Spec.HostNetwork {
		n.host[uid] = true
	}
	t.where[uid] = pod.Spec.NodeName
	t.labels.set(uid, pod.Labels)
	described := Describe(pod, t.container)
	if old != nil && proto.Equal(old, described) {
		return
	}
	n.pods[uid] = described
	if !n.seen && n.live[uid] {
		n.seen = true
		t.pending = append(t.pending, pod.Spec.NodeName)
	}
	t.wake()
}

// node returns the targets of a node. t.mu is held.
func (t *Set) node(name string) *nodeTargets {
	n := t.nodes[name]
	if n == nil {
		n = &nodeTargets{pods: map[string]*session.Pod{}, live: map[string]bool{}, host: map[string]bool{}}
		t.nodes[name] = n
	}
	return n
}

// AddNode makes a node a target.
func (t *Set) AddNode(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(name)
	if n.whole {
		return
	}
	n.whole = true
	n.noteIdle()
	if !n.seen {
		n.seen = true
		t.pending = append(t.pending, name)
	}
	t.wake()
}

// RemoveNode removes a node from the targets. Its pods stay targets.
func (t *Set) RemoveNode(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[name]; n != nil && n.whole {
		n.whole = false
		n.noteIdle()
		t.wake()
	}
}

// Remove removes a pod.
func (t *Set) Remove(uid string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	node, ok := t.where[uid]
	if !ok {
		return
	}
	delete(t.where, uid)
	t.labels.delete(uid, time.Now())
	delete(t.nodes[node].pods, uid)
	delete(t.nodes[node].live, uid)
	delete(t.nodes[node].host, uid)
	t.nodes[node].noteIdle()
	t.wake()
}

// wake wakes all waiters. t.mu is held.
func (t *Set) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Count returns how many live targets there are, and on how many nodes.
func (t *Set) Count() (pods, nodes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.nodes {
		here := 0
		for _, live := range n.live {
			if live {
				here++
			}
		}
		if n.busy() {
			nodes++
			pods += here
		}
	}
	return pods, nodes
}

// NextNode waits for a node that has a target and that it has not returned before.
func (t *Set) NextNode(ctx context.Context) (string, error) {
	for {
		t.mu.Lock()
		if len(t.pending) > 0 {
			node := t.pending[0]
			t.pending = t.pending[1:]
			t.mu.Unlock()
			return node, nil
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// ObservesPod reports whether the pod is a target.
func (t *Set) ObservesPod(uid string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.where[uid]
	return ok
}

// ObservesHost reports whether a target is in the network of the node itself.
func (t *Set) ObservesHost(node string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[node]
	return n != nil && len(n.host) > 0
}

// Pod returns a target, nil for a pod that is none.
func (t *Set) Pod(uid string) *session.Pod {
	t.mu.Lock()
	defer t.mu.Unlock()
	node, ok := t.where[uid]
	if !ok {
		return nil
	}
	return t.nodes[node].pods[uid]
}

// HostPods returns the targets in the network of a node.
func (t *Set) HostPods(node string) (pods []*session.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[node]; n != nil {
		for uid := range n.host {
			pods = append(pods, n.pods[uid])
		}
	}
	return pods
}

// LabelsOf returns the labels of a pod that is a target, or was one.
func (t *Set) LabelsOf(uid string) (labels.Set, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.labels.get(uid)
}

// Namespaces returns the namespaces with targets, in order.
func (t *Set) Namespaces() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string]struct{}{}
	for _, n := range t.nodes {
		for _, p := range n.pods {
			all[p.GetNamespace()] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
