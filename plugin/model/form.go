package model

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// topicSpec is what topics do differently.
type topicSpec struct {
	amounts int
	// own is how many of them a series with an id has; the others are only of what such series have in common.
	own int
	// flip is the index of an amount as seen from the other end.
	flip [maxAmounts]int
	// doubled are the amounts that both ends of a connection count.
	doubled int
	add     func(s *store, ev *event.Event, now int64) bool
	fill    func(ev *event.Event, r *sum)
}

// unflipped keeps every amount at its index.
var unflipped = func() (same [maxAmounts]int) {
	for i := range same {
		same[i] = i
	}
	return same
}()

// Topics lists what screens are about.
func Topics() []*Topic { return topics }

// TopicByName returns the topic with a name, nil if there is none.
func TopicByName(name string) *Topic {
	for _, t := range topics {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// GroupByName returns the group with a name, nil if the topic has none.
func (t *Topic) GroupByName(name string) *Group {
	for _, g := range t.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

var topics = []*Topic{networkTopic(), dnsTopic(), syscallsTopic(), gpuTopic()}

// groups are a topic's own first one, those of all topics, and the topic's others.
func groups(first *Group, more ...*Group) []*Group {
	all := []*Group{first}
	for _, g := range append([]*Group{
		{Name: "pod", Doc: "a pod", dims: []dim{dimNamespace, dimPod}},
		{Name: "container", Doc: "a container of a pod", dims: []dim{dimNamespace, dimPod, dimContainer}},
		{Name: "workload", Doc: "all pods of a controller", dims: []dim{dimNamespace, dimWorkload}},
		{Name: "namespace", Doc: "a namespace", dims: []dim{dimNamespace}},
		{Name: "node", Doc: "a node", dims: []dim{dimNode}},
	}, more...) {
		if g.Name != first.Name {
			all = append(all, g)
		}
	}
	return all
}

// self sets what is known of an observed container.
func (f *dimensions) self(namespace, pod, container, workload, node, process string) {
	f.set(dimNamespace, namespace)
	f.set(dimPod, pod)
	f.set(dimContainer, container)
	if workload == "" && pod != "" {
		workload = barePod + pod
	}
	f.set(dimWorkload, workload)
	f.set(dimNode, node)
	f.set(dimProcess, process)
}

// barePod stands before the name of a pod that has no controller, where workloads are named.
const barePod = "pod/"

// New makes a model without anything in it.
func New(t *Topic, o Options) *Model {
	if o.Started.IsZero() {
		o.Started = time.Now()
	}
	return &Model{topic: t, store: newStore(&t.spec, o)}
}

// Topic is what the model is about.
func (m *Model) Topic() *Topic { return m.topic }

// Add counts an event that came at a time, by the viewer's clock; of a recording, by the event's. Events of other kinds
// than the topic's sources, NodeStatus and Lost are passed over. The event is not kept.
func (m *Model) Add(ev *event.Event, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := at.UnixNano()
	switch k := ev.GetKind().(type) {
	case *event.Event_NodeStatus:
		if k.NodeStatus.GetState() == event.NodeState_NODE_STATE_STREAMING && m.status.events == 0 {
			m.started = now // nothing could be seen before
		}
		m.status.node(ev.GetNode(), k.NodeStatus)
		if k.NodeStatus.GetState() == event.NodeState_NODE_STATE_FAILED {
			m.forgetNode(ev.GetNode())
		}
	case *event.Event_Lost:
		m.status.losses.Add(losses.Of(ev))
	default:
		if m.spec.add(m.store, ev, now) {
			m.status.count(now)
		}
	}
}

// Mark begins the time anew that rows of the window 0 are about.
func (m *Model) Mark(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = now.UnixNano()
	m.each(func(l *series) {
		clear(l.total)
		if l.latencies != nil {
			clear(l.latencies.all[:])
		}
	})
}

// forgetNode ends the flows that only one node has reported: no more events of them will come.
func (m *Model) forgetNode(node string) {
	for _, l := range m.series {
		if l.live && l.pair.sides == 1 && l.pair.faces[0][dimNode].Value() == node {
			m.end(l)
		}
	}
}
