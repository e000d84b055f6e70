package cluster

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

// targets is the set of observed pods by node. Its readers wait for changes.
type targets struct {
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

func newTargets(match func(*corev1.Pod) bool, container string) *targets {
	return &targets{
		match: match, container: container,
		nodes: map[string]*nodeTargets{}, where: map[string]string{}, changed: make(chan struct{}),
		labels: podLabels{sets: map[string]labels.Set{}},
	}
}

// apply stores the current state of a pod.
func (t *targets) apply(pod *corev1.Pod) {
	uid := string(pod.UID)
	if pod.Spec.NodeName == "" || !t.match(pod) {
		// Labels change: a pod may stop being a target.
		t.remove(uid)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(pod.Spec.NodeName)
	old := n.pods[uid]
	if old == nil && finished(pod) {
		// It ended before the first event of the watch: there is nothing to observe. A pod that ends later stays,
		// because its container ids name its last events.
		return
	}
	n.live[uid] = !finished(pod)
	n.noteIdle()
	if pod.Spec.HostNetwork {
		n.host[uid] = true
	}
	t.where[uid] = pod.Spec.NodeName
	t.labels.sets[uid] = pod.Labels
	described := describe(pod, t.container)
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
func (t *targets) node(name string) *nodeTargets {
	n := t.nodes[name]
	if n == nil {
		n = &nodeTargets{pods: map[string]*session.Pod{}, live: map[string]bool{}, host: map[string]bool{}}
		t.nodes[name] = n
	}
	return n
}

// addNode makes a node a target.
func (t *targets) addNode(name string) {
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

// removeNode removes a node from the targets. Its pods stay targets.
func (t *targets) removeNode(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[name]; n != nil && n.whole {
		n.whole = false
		n.noteIdle()
		t.wake()
	}
}

// remove removes a pod.
func (t *targets) remove(uid string) {
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
func (t *targets) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// count returns how many live targets there are, and on how many nodes.
func (t *targets) count() (pods, nodes int) {
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

func (t *targets) nextNode(ctx context.Context) (string, error) {
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

// observesPod reports whether the pod is a target.
func (t *targets) observesPod(uid string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.where[uid]
	return ok
}

// observesHost reports whether a target is in the network of the node itself.
func (t *targets) observesHost(node string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[node]
	return n != nil && len(n.host) > 0
}

// pod returns a target, nil for a pod that is none.
func (t *targets) pod(uid string) *session.Pod {
	t.mu.Lock()
	defer t.mu.Unlock()
	node, ok := t.where[uid]
	if !ok {
		return nil
	}
	return t.nodes[node].pods[uid]
}

// hostPods returns the targets in the network of a node.
func (t *targets) hostPods(node string) (pods []*session.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[node]; n != nil {
		for uid := range n.host {
			pods = append(pods, n.pods[uid])
		}
	}
	return pods
}

// labelsOf returns the labels of a pod that is a target, or was one.
func (t *targets) labelsOf(uid string) (labels.Set, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set, ok := t.labels.sets[uid]
	return set, ok
}

// namespaces returns the namespaces with targets, in order.
func (t *targets) namespaces() []string {
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

// Feed gives one tracer the pods of its node: first all of them, then changes. It is for one goroutine.
type Feed struct {
	targets *targets
	node    string
	sent    map[string]*session.Pod
	started bool
}

// Next waits for the next update. The first one after NewFeed or Reset is complete, and comes at once.
func (f *Feed) Next(ctx context.Context) (*session.PodUpdate, error) {
	for {
		f.targets.mu.Lock()
		update := f.diff()
		changed := f.targets.changed
		f.targets.mu.Unlock()
		if update != nil {
			return update, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Reset makes the next update complete: the tracer at the other end is a new one, or may have missed something.
func (f *Feed) Reset() {
	f.started = false
	clear(f.sent)
}

// Idle reports whether the node has no live target now, and since when; zero means that it never had one.
func (f *Feed) Idle() (since time.Time, idle bool) {
	f.targets.mu.Lock()
	defer f.targets.mu.Unlock()
	n := f.targets.nodes[f.node]
	if n == nil {
		return time.Time{}, true
	}
	return n.idleSince, !n.busy()
}

// Busy waits until the node has a live target.
func (f *Feed) Busy(ctx context.Context) error {
	for {
		f.targets.mu.Lock()
		idle, changed := f.idle(), f.targets.changed
		f.targets.mu.Unlock()
		if !idle {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idle is Idle under the targets' lock.
func (f *Feed) idle() bool {
	n := f.targets.nodes[f.node]
	return n == nil || !n.busy()
}

// diff returns the changes that f has not sent, nil if there are none. The targets' lock is held.
func (f *Feed) diff() *session.PodUpdate {
	var pods map[string]*session.Pod
	if n := f.targets.nodes[f.node]; n != nil {
		pods = n.pods
	}
	update := &session.PodUpdate{Complete: !f.started}
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		if f.sent[uid] != pods[uid] {
			update.Upsert = append(update.Upsert, pods[uid])
			f.sent[uid] = pods[uid]
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(f.sent)) {
		if pods[uid] == nil {
			update.DeleteUids = append(update.DeleteUids, uid)
			delete(f.sent, uid)
		}
	}
	if f.started && len(update.Upsert) == 0 && len(update.DeleteUids) == 0 {
		return nil
	}
	f.started = true
	return update
}
