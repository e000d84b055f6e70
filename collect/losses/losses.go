// Package losses sums up events of kind lost, by the pods that lost events and the pods that caused it.
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

// Loss is a number of events lost at one place.
type Loss struct {
	Node   string
	Stage  event.LossStage
	Source string
	// Pod lost the events. Cause is the pod that made most of the events meanwhile.
	Pod, Cause Pod
	Count      uint64
}

// Of returns the loss that a lost event reports.
func Of(ev *event.Event) Loss {
	l, by := ev.GetLost(), ev.GetLost().GetCausedBy()
	return Loss{
		Node: ev.GetNode(), Stage: l.GetStage(), Source: l.GetSource(), Count: l.GetCount(),
		Pod:   Pod{ev.GetNamespace(), ev.GetPod(), ev.GetContainer()},
		Cause: Pod{by.GetNamespace(), by.GetPod(), by.GetContainer()},
	}
}

// Event returns the loss as an event.
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

// maxOfNode limits the distinct losses of a node, because tracers choose the names. Further ones count for an unknown
// pod and source.
const maxOfNode = 256

// Tally adds up losses. Its zero value is empty.
type Tally struct {
	counts map[Loss]uint64 // by losses without Count
	of     map[string]int  // number of distinct losses by node
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

// knownStage returns the stage, or LOSS_STAGE_UNKNOWN if this version does not know it.
func knownStage(s event.LossStage) event.LossStage {
	if s.Word() == "" {
		return event.LossStage_LOSS_STAGE_UNKNOWN
	}
	return s
}

// All returns the losses in the order of node, stage, source, pod and cause.
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

// Real removes losses of names, whose events were delivered.
func Real(all []Loss) []Loss {
	return slices.DeleteFunc(slices.Clone(all),
		func(l Loss) bool { return l.Stage == event.LossStage_LOSS_STAGE_NAMING })
}
