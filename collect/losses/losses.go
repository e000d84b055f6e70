// Package losses adds up events of the kind lost, and says which pods' events were lost because of which pod.
package losses

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Pod names a container, or a pod where Container is empty. The zero value is an unknown one.
type Pod struct{ Namespace, Name, Container string }

func (p Pod) compare(q Pod) int {
	return cmp.Or(cmp.Compare(p.Namespace, q.Namespace), cmp.Compare(p.Name, q.Name),
		cmp.Compare(p.Container, q.Container))
}

// Loss is how many events were lost at one place.
type Loss struct {
	Node   string
	Stage  event.LossStage
	Source string
	// Pod is whose events they were, Cause the pod that made most of the events meanwhile.
	Pod, Cause Pod
	Count      uint64
}

// Of is what a lost event says.
func Of(ev *event.Event) Loss {
	l, by := ev.GetLost(), ev.GetLost().GetCausedBy()
	return Loss{
		Node: ev.GetNode(), Stage: l.GetStage(), Source: l.GetSource(), Count: l.GetCount(),
		Pod:   Pod{ev.GetNamespace(), ev.GetPod(), ev.GetContainer()},
		Cause: Pod{by.GetNamespace(), by.GetPod(), by.GetContainer()},
	}
}

// Event is the loss as an event.
func (l Loss) Event(time uint64) *event.Event {
	lost := &event.Lost{Stage: l.Stage, Source: l.Source, Count: l.Count}
	if c := l.Cause; c != (Pod{}) {
		lost.CausedBy = &event.PodRef{Namespace: c.Namespace, Pod: c.Name, Container: c.Container}
	}
	return &event.Event{
		Time: time, Node: l.Node, Namespace: l.Pod.Namespace, Pod: l.Pod.Name, Container: l.Pod.Container,
		Kind: &event.Event_Lost{Lost: lost},
	}
}

// maxOfNode is how many losses of a node are distinguished. Tracers choose the names: what is more counts for no known
// pod and source.
const maxOfNode = 256

// Tally adds up losses. Its zero value is empty.
type Tally struct {
	counts map[Loss]uint64 // by losses without Count
	of     map[string]int  // how many there are of a node
}

// Add counts a loss.
func (t *Tally) Add(l Loss) {
	n := l.Count
	if n == 0 {
		return
	}
	if t.counts == nil {
		t.counts, t.of = map[Loss]uint64{}, map[string]int{}
	}
	l.Count = 0
	if _, known := t.counts[l]; !known {
		if t.of[l.Node] >= maxOfNode {
			l = Loss{Node: l.Node, Stage: knownStage(l.Stage)}
		}
		if _, known := t.counts[l]; !known {
			t.of[l.Node]++
		}
	}
	t.counts[l] += n
}

// knownStage is a stage that this version has a name for.
func knownStage(s event.LossStage) event.LossStage {
	if s.Word() == "" {
		return event.LossStage_LOSS_STAGE_UNKNOWN
	}
	return s
}

// All are the losses by node, stage, source, pod and cause.
func (t *Tally) All() []Loss {
	all := make([]Loss, 0, len(t.counts))
	for l, n := range t.counts {
		l.Count = n
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Source, b.Source),
			a.Pod.compare(b.Pod), a.Cause.compare(b.Cause))
	})
	return all
}

// Real leaves out what was delivered after all, without a name.
func Real(all []Loss) []Loss {
	return slices.DeleteFunc(slices.Clone(all),
		func(l Loss) bool { return l.Stage == event.LossStage_LOSS_STAGE_NAMING })
}
