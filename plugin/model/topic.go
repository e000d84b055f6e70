package model

import "github.com/orb8-dev/kubectl-orb8/event"

// topicSpec is how a topic counts events.
type topicSpec struct {
	amounts int
	// own is how many of the amounts a series with an ID has; the others are of endpoint pairs only.
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

// Topics returns all topics.
func Topics() []*Topic { return topics }

// TopicByName returns the topic with a name, or nil.
func TopicByName(name string) *Topic {
	for _, t := range topics {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// GroupByName returns the topic's group with a name, or nil.
func (t *Topic) GroupByName(name string) *Group {
	for _, g := range t.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

var topics = []*Topic{networkTopic(), dnsTopic(), syscallsTopic(), gpuTopic()}

// groups returns a topic's first group, the groups of all topics, and the topic's further ones.
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

// self sets the dimensions of an observed container.
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

// barePod is the prefix of the workload name of a pod without a controller.
const barePod = "pod/"
